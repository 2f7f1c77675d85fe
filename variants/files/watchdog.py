"""A limit on each step of looking at a model file, in a process that exists for that alone.

Engines hold the interpreter while they run, so no handler of ours could stop them: the signal's
own action, which ends the process, does.
"""

from __future__ import annotations

import signal

#: What ends a process whose step took too long; None where the system has no such timer.
SIGNAL: int | None = getattr(signal, "SIGALRM", None)

_limit_s = 0.0


def arm(limit_s: float) -> None:
    """From now on, this process ends unless a step begins every `limit_s` seconds."""
    global _limit_s
    _limit_s = limit_s
    step()


def step() -> None:
    """A step begins; nothing where no limit was set."""
    if _limit_s and SIGNAL is not None:
        signal.setitimer(signal.ITIMER_REAL, _limit_s)
