"""A limit on each step over a model file, in a process that exists for that alone.

Engines hold the interpreter while they run, so no handler of ours could stop them. Whoever asked
ends the process when no step begins for too long, of which it is told here; should that be dead,
the signal of the processor's time does, whose own action ends the process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: What ends a process whose step took too much time; None where the system has no such timer.
SIGNAL: int | None = getattr(signal, "SIGPROF", None)
#: How often steps are told.
TELL_S = 0.5

#: Told True as a step begins, and False as something does that is no step.
Tell = Callable[[bool], None]

_limit_s = 0.0
_tell: Tell | None = None
_told_at = 0.0


@contextmanager
def armed(limit_s: float, tell: Tell) -> Iterator[None]:
    """Within it, `tell` is called as steps begin, every `TELL_S` seconds at most; and this process
    ends where one takes `limit_s` seconds of all processors together."""
    global _limit_s, _tell
    _limit_s, _tell = limit_s, tell
    _begin()
    try:
        yield
    finally:
        _limit_s, _tell = 0.0, None
        _set(0.0)


@contextmanager
def paused() -> Iterator[None]:
    """Within it, no time is counted; a step begins behind it."""
    _set(0.0)
    if _tell is not None:
        _tell(False)
    try:
        yield
    finally:
        _begin()


def step() -> None:
    """A step begins; nothing where no limit was set."""
    if _limit_s and time.monotonic() - _told_at > TELL_S:
        _begin()


def _begin() -> None:
    global _told_at
    if _tell is not None:
        _set(_limit_s * (os.cpu_count() or 1))
        _told_at = time.monotonic()
        _tell(True)


def _set(seconds: float) -> None:
    if SIGNAL is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
