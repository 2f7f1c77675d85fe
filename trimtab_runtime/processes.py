"""Processes that somebody waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

#: The most that passes between two looks of whoever waits, on a machine that is very busy.
_GAP_S = 5.0


class AwakeClock:
    """Seconds for which this process ran. While it is stopped itself (Ctrl-Z, a container that is
    paused) none pass: nobody that it waits for is to blame for them. To be looked at about once a
    second."""

    def __init__(self) -> None:
        self._seen, self._awake_s = time.monotonic(), 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        self._awake_s += min(now - self._seen, _GAP_S)
        self._seen = now
        return self._awake_s


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a group of its own (`process_group=0`), also one that is stopped,
    and what it has started; wait until it is gone."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
