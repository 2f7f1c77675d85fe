"""SIGTERM (`docker stop`, systemd, a CI that cancels) ends a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""

    def __init__(self) -> None:
        super().__init__("SIGTERM")


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """Within it, SIGTERM raises :class:`Terminated` in the main thread; elsewhere no signal can
    be heeded, and nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated
