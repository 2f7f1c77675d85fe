"""The time that a trial may take."""

from __future__ import annotations

import time

#: Times its patience that a trial may last, where other programs have the processor.
_PATIENCE = 3.0


class Clock:
    """Seconds of a process that computes on `threads`."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._wall, self._own = time.monotonic(), time.process_time()

    def spent_s(self) -> float:
        own = (time.process_time() - self._own) / self._threads
        return max(own, (time.monotonic() - self._wall) / _PATIENCE)
