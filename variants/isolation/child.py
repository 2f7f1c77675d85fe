"""Code of ours in a process of its own, which may hang, crash or take all memory, and the job
outlives that."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_KILLED = -9
_LOOK_S = 0.05


def command(code: str, *arguments: str) -> Sequence[str]:
    """The command line of a fresh interpreter that runs `code`."""
    # -P: what lies in the working directory is not to be imported.
    return [sys.executable, "-P", "-c", code, *arguments]


def started(code: str, *, stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """A fresh interpreter that runs `code`, with the number of this process as its argument (see
    :func:`serve`), pipes for its input and output, and a group of its own for
    :func:`~trimtab_runtime.processes.end_group`."""
    return subprocess.Popen(
        command(code, str(os.getpid())),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        process_group=0,
    )


def environment() -> Mapping[str, str]:
    """That of this process, where this code is found first, then what was on the path anyway."""
    places = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def death(who: str, status: int | None, said: str) -> str:
    """How the process that tried to do something ended; `said` is what it complained of."""
    if status == _KILLED:
        return f"{who} was killed, most likely for taking all memory"
    last = said.strip().splitlines()[-1:]
    how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    return " ".join([f"{who} died of {how}", *(f"({line})" for line in last)])


def serve(asked_by: int) -> None:
    """What such a process does first: where memory runs out, Linux takes it and not the job, and
    it ends with the process that asked."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if os.name == "posix":  # elsewhere a launcher may stand between
        threading.Thread(target=_end_with, args=(asked_by,), daemon=True).start()


def _end_with(process: int) -> None:
    """Nobody waits for the answer once who asked is dead, and its folder is removed."""
    while os.getppid() == process:
        time.sleep(_LOOK_S)
    os._exit(1)


@contextmanager
def limited_memory(most: int) -> Iterator[None]:
    """What the system gives of memory that is written to; files that are mapped are not in it."""
    try:
        import resource
    except ImportError:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))
