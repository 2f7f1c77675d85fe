"""Waiting for processes that tests start."""

from __future__ import annotations

import random
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from trimtab.variants.isolation import end_idle

T = TypeVar("T")

#: What a busy machine may need for what takes a moment; less than a test may take.
PATIENCE_S = 400
#: Below what Linux (32768) and IANA (49152) give to connections, above what services have.
_LISTENERS = (20_000, 32_000)


def has_ended(process: psutil.Process) -> bool:
    """Whether it does nothing any more. Where nobody reaps orphans (a container's first process
    may not), one that ended stays in the table as a zombie."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A port of this machine that nobody listens at, out of those that no program is given by
    chance, so that it stays free until a server takes it."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().randrange(*_LISTENERS)))
            port: int = probe.getsockname()[1]
            return port


def until(holds: Callable[[], T]) -> T:
    """Wait until something holds, as long as any machine may need; what it was."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < ends, f"not within {PATIENCE_S} s"
        time.sleep(0.05)
    return found


def left_after(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end."""
    ends = time.monotonic() + PATIENCE_S
    while left := [process for process in processes if not has_ended(process)]:
        if time.monotonic() > ends:
            break
        time.sleep(0.02)
    return left


def only_does(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a process that carries out steps does one line of a shell instead."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{line}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    end_idle()
