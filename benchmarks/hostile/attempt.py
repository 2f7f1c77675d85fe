"""One case, in this process: `python -m benchmarks.hostile.attempt FAMILY CASE SEED FOLDER`.

Prints {"outcome": ..., "detail": ..., "peak_gb": ..., "silence_s": ...} as its last line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from benchmarks.hostile.cases import Attempt, Case, Ended, Harmed, Mistaken, Traced
from benchmarks.hostile.families import cases_of
from trimtab_runtime.errors import TrimtabError


def main(family: str, name: str, seed: str, folder: str) -> None:
    """Run it, and print its outcome."""
    case = next(case for case in cases_of(family, int(seed)) if case.name == name)
    rng = np.random.default_rng([int(seed), zlib.crc32(f"{family}/{name}".encode())])
    attempt = Attempt(Path(folder), rng)
    began, detail = time.monotonic(), ""
    try:
        outcome, detail = _tried(case, attempt)
    except Mistaken as error:
        outcome, detail = "mistaken", str(error)
    except Harmed as error:
        outcome, detail = "harmed", str(error)
    except Ended as error:
        outcome, detail = "ended", str(error)
    except Exception as error:  # whatever it is, it is the finding
        outcome = "traceback"
        detail = str(error) if isinstance(error, Traced) else f"{type(error).__name__}: {error}"
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    silence = attempt.silence_s or time.monotonic() - began
    told = {
        "outcome": outcome,
        "detail": detail,
        "peak_gb": round(max(own, attempt.peak_gb), 3),
        "silence_s": round(silence, 1),
    }
    print(json.dumps(told))


def _tried(case: Case, attempt: Attempt) -> tuple[str, str]:
    try:
        case.run(attempt)
    except TrimtabError as error:
        case.check(str(error))
        return "refused", str(error)
    case.check(None)
    return "survived", ""


if __name__ == "__main__":
    main(*sys.argv[1:])
