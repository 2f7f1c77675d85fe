"""Read a request, do it, write the result. Progress goes to standard output, a line each.

The process exits with 0 whether the request failed or not, so any other status means that it died.

With a third argument, `watched`, the process ends as soon as its standard input does: whoever
asked holds the other end of that pipe, and is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # NumPy's own threads would disturb what is measured


def _end_with_asker() -> None:
    while os.read(0, 4096):  # blocks, so that it costs what is measured nothing
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # bundles in turns with it, also one that is stopped
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


def main() -> int:
    _die_first()
    if sys.argv[3:] == ["watched"]:
        threading.Thread(target=_end_with_asker, daemon=True).start()
    from trimtab_runtime.probe.dispatch import result_of

    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = result_of(request, _Report())
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
