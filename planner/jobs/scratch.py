"""Temporary files of jobs, which vanish with them, however they end.

A process that runs jobs has one folder, `ARTEFACTS/.scratch/run-TOKEN`, and holds a lock in it
that the system drops when the process dies. Whoever comes next removes what nobody holds.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from trimtab_runtime.errors import StoreError

_HOME, _HELD = ".scratch", "held"
_WAIT_S = 60.0
_PARTIAL_LASTS_S = 3600.0  # nobody writes at one artefact for so long without a pause


class _Shared:
    """The folder of this process: `tempfile` and the environment have one place for all."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.users = 0
        self.stack = ExitStack()


_shared = _Shared()


@contextmanager
def scratch(artefacts: Path) -> Iterator[None]:
    """Have all temporary files of this process in a folder of its own below `artefacts`.

    Within the `with` block `tempfile` and whatever obeys TMPDIR work there, child processes
    included, and bundles unpack there. Jobs in threads of one process share the folder that the
    first of them made. Raises StoreError where it cannot be made.
    """
    with _shared.mutex:
        if _shared.users == 0:
            _shared.stack.enter_context(_made(artefacts))
        _shared.users += 1
    try:
        yield
    finally:
        with _shared.mutex:
            _shared.users -= 1
            if _shared.users == 0:
                _shared.stack.close()


@contextmanager
def _made(artefacts: Path) -> Iterator[None]:
    home = artefacts / _HOME
    folder = home / f"run-{secrets.token_hex(8)}"
    held = FileLock(folder / _HELD, thread_local=False)  # any thread may be the last
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(home / "lock", timeout=_WAIT_S):
            _remove_dead(home)
            folder.mkdir(mode=0o700)
            held.acquire()
        _remove_partial(artefacts)
    except Timeout as error:
        raise StoreError(f"{home} was locked by another process for {_WAIT_S:g} s") from error
    except OSError as error:
        raise StoreError(f"no temporary files can be kept in {home}: {error}") from error
    try:
        with _used_by_all(folder):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.release()


def _remove_dead(home: Path) -> None:
    for folder in home.glob("run-*"):
        with suppress(Timeout), FileLock(folder / _HELD, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)  # the rest next time


def _remove_partial(artefacts: Path) -> None:
    """Remove what killed processes began to write into the store of artefacts."""
    for path in artefacts.glob(".*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _PARTIAL_LASTS_S:
                path.unlink()


@contextmanager
def _used_by_all(folder: Path) -> Iterator[None]:
    places = {"TMPDIR": str(folder), "TRIMTAB_CACHE": str(folder / "bundles")}
    # Sockets have short paths: Ray's, and those of clusters that run already, lie where they did.
    places["RAY_TMPDIR"] = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    before = {name: os.environ.get(name) for name in places}
    chosen = tempfile.tempdir
    os.environ.update(places)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = chosen
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
