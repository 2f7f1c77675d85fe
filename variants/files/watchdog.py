"""A limit on each step over a model file, in a process that exists for that alone.

Engines hold the interpreter while they run, so no handler of ours could stop them: the signal's
own action, which ends the process, does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: What ends a process whose step took too long; None where the system has no such timer.
SIGNAL: int | None = getattr(signal, "SIGALRM", None)

_limit_s = 0.0


@contextmanager
def armed(limit_s: float) -> Iterator[None]:
    """Within it, this process ends unless a step begins every `limit_s` seconds."""
    global _limit_s
    _limit_s = limit_s
    step()
    try:
        yield
    finally:
        _limit_s = 0.0
        _set(0.0)


@contextmanager
def paused() -> Iterator[None]:
    """Within it, no time is counted; a step begins behind it."""
    _set(0.0)
    try:
        yield
    finally:
        step()


def step() -> None:
    """A step begins; nothing where no limit was set."""
    if _limit_s:
        _set(_limit_s)


def _set(seconds: float) -> None:
    if SIGNAL is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
