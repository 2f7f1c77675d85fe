"""The time that a trial may take."""

from __future__ import annotations

import time

#: How much longer a member may take on a machine that does other things too.
_BUSY = 4


class Clock:
    """Runs from its making on, in the thread that made it."""

    def __init__(self) -> None:
        self._began, self._ran_s = time.monotonic(), time.thread_time()

    def spent_s(self) -> float:
        """The time that it has had: what this thread ran, as others may use the machine too."""
        ran_s = time.thread_time() - self._ran_s
        return max(ran_s, (time.monotonic() - self._began) / _BUSY)
