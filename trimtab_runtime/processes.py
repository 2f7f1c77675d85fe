"""Processes that somebody waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import trimtab_runtime

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


def runtime_place(python: str, folder: str) -> str:
    """Where the interpreter `python` imports this package from: another one gets a link to it in
    `folder`, with nothing beside it, for it has engines of its own."""
    package = os.path.dirname(os.path.abspath(trimtab_runtime.__file__))
    if python == sys.executable:
        return os.path.dirname(package)
    link = os.path.join(folder, trimtab_runtime.__name__)
    if not os.path.lexists(link):
        os.symlink(package, link)
    return folder
