"""The side of the model: a process that carries out steps, each within its limits."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from trimtab.variants.files import watchdog
from trimtab.variants.isolation import child
from trimtab_runtime.errors import TrimtabError, reason_of

#: A process that holds more than this when a step is done is replaced.
_KEPT_BYTES = 2**30


def main() -> None:
    """Answer the requests on standard input, one line of JSON each: {"told": the answer}, or
    {"error": its class (None: none of ours), "reason": its text}, where the process is not to be
    used again with "spent". Before it, {"step": true} says that a step begins, {"step": false}
    that something does that is none, and {"ask": ...} wants an {"answer": ...}."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the job's, which then ends this
    child.serve(int(sys.argv[1]))
    requests, answers = _own_pipes()

    def ask(asked: Any) -> Any:
        with watchdog.paused():
            _say(answers, {"ask": asked})
            return json.loads(requests.readline())["answer"]

    def tell(step: bool) -> None:
        _say(answers, {"step": step})

    for line in requests:
        _say(answers, _answer(json.loads(line), ask, tell))


def _own_pipes() -> tuple[IO[str], IO[str]]:
    """Standard input and output for this module alone: what a model's code reads is empty, and
    what it prints goes to the errors."""
    requests, answers = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "r"), (1, "w")))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _say(answers: IO[str], told: dict[str, Any]) -> None:
    answers.write(json.dumps(told) + "\n")
    answers.flush()


def _answer(line: dict[str, Any], ask: Any, tell: watchdog.Tell) -> dict[str, Any]:
    module, _, name = line["task"].partition(":")
    try:
        tempfile.tempdir = line["temporary"]  # which the job removes, whatever happens here
        task = getattr(importlib.import_module(module), name)  # takes time that is no model's
        with watchdog.armed(line["step_s"], tell), child.limited_memory(line["memory"]):
            return {"told": task(line["request"], ask), "spent": _held_bytes() > _KEPT_BYTES}
    except MemoryError:
        reason = "too little memory; take a smaller model or input size, or free memory"
        return {"error": None, "reason": reason, "spent": True}
    except TrimtabError as error:
        return {"error": type(error).__name__, "reason": str(error)}
    except Exception as error:  # whatever a model makes of this code, it is that model's failure
        return {"error": None, "reason": reason_of(error), "spent": True}


def _held_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
