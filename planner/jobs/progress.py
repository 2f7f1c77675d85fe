"""The pace of a job, and the time left."""

from __future__ import annotations

import time


def time_text(seconds: float) -> str:
    """A span of time for people: 40 s, 3 min 20 s, 1 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Pace:
    """How long a step will take yet, by what it has done since it was first seen.

    A resumed job begins at the share that an earlier run has done, which does not count.
    """

    def __init__(self, done: float) -> None:
        self._began, self._first = time.monotonic(), done
        self._at, self._done = self._began, done

    def update(self, done: float) -> None:
        self._at, self._done = time.monotonic(), done

    def left_s(self, total: float) -> float | None:
        """Seconds, counting down between updates; None while nothing is known, or at the end."""
        gained = self._done - self._first
        if gained <= 0:
            return None
        needed = (total - self._done) * (self._at - self._began) / gained
        left = needed - (time.monotonic() - self._at)
        return left if left >= 0.5 else None
