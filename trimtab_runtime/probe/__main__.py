"""Read a request, do it, write the result. Progress goes to standard output, a line each.

The result is {"status": "ok", values, samples, warnings} or {"status": "failed", error, reason};
the process exits with 0 in both cases, so any other status means that it died.

With a third argument, `watched`, the process ends as soon as its standard input does: whoever
asked holds the other end of that pipe, and is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # NumPy's own threads would disturb what is measured


def _end_with_asker() -> None:
    while os.read(0, 4096):  # blocks, so that it costs what is measured nothing
        pass
    os._exit(3)


def _die_first() -> None:
    """Where memory runs out, Linux shall take this process and not the one that asked."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


class _Report:
    """Prints progress twice a second, and the end."""

    def __init__(self) -> None:
        self._printed_at = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._printed_at > 0.5:
            self._printed_at = now
            print(json.dumps({"done": done, "total": total}), flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from trimtab_runtime.codec import decode
    from trimtab_runtime.probe.answers import trace, verify
    from trimtab_runtime.probe.measure import measure
    from trimtab_runtime.probe.requests import KINDS

    # What a bundle's process has not, no measurement of memory shall have: imported when asked.
    answers: dict[str, Callable[[Any, _Report], dict[str, Any]]] = {
        "measure": measure,
        "trace": trace,
        "features": _features,
        "verify": verify,
        "layers": _layers,
        "race": _race,
        "fingerprint": _fingerprint,
    }
    kind = request.pop("kind")
    decoded: Any = decode(KINDS[kind], request)
    return answers[kind](decoded, _Report())


def _layers(request: Any, progress: _Report) -> dict[str, Any]:
    from trimtab_runtime.probe.layers import layers

    return layers(request, progress)


def _race(request: Any, progress: _Report) -> dict[str, Any]:
    from trimtab_runtime.probe.race import race

    return race(request, progress)


def _features(request: Any, progress: _Report) -> dict[str, Any]:
    from trimtab_runtime.probe.features import features

    return features(request, progress)


def _fingerprint(request: Any, progress: _Report) -> dict[str, Any]:
    from trimtab_runtime.fingerprint import fingerprint

    return {"values": {}, "samples": {}, "warnings": [], "fingerprint": fingerprint()}


def main() -> int:
    _die_first()
    if sys.argv[3:] == ["watched"]:
        threading.Thread(target=_end_with_asker, daemon=True).start()
    from trimtab_runtime.errors import TrimtabError

    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        result = {"status": "ok", **_answer(request)}
    except (TrimtabError, MemoryError) as error:
        result = {"status": "failed", "error": type(error).__name__, "reason": str(error)}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
