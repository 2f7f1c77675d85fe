"""Functions that Numba compiles once a machine: the machine code is kept in the user's cache.

Numba's own cache knows the file of the function that is called, and none of those that it calls.
So the folder is named by the content of all of them.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_UNUSED_S = 30 * 86400.0  # folders that no process has opened for so long are removed
_WAIT_S = 300.0  # for another process that compiles the same
#: What reading a cache raises where a file of it is damaged or gone, or the disk is full.
_DAMAGED = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)


class Compiled:
    """A function that is compiled for each combination of types that it is called with.

    `callees` are all functions that it calls, directly or not, in such an order that none calls a
    later one. Numba is imported at the first call. Where the user's cache cannot be written, or
    others may write there, every process compiles for itself.
    """

    def __init__(
        self, function: Callable[..., Any], callees: Sequence[Callable[..., Any]]
    ) -> None:
        self._function, self._callees = function, tuple(callees)

    def __call__(self, *arguments: Any) -> Any:
        """The function's own result."""
        numba: Any = import_module("numba")  # which ships no types for what is used here
        types = tuple(map(numba.typeof, arguments))
        if types not in self._dispatcher.overloads:
            self._compile(types)
        return self._dispatcher(*arguments)

    @property
    def stats(self) -> Any:
        """Numba's figures of the cache: `cache_path` (None without one), `cache_hits` and
        `cache_misses`, numbers by types."""
        return self._dispatcher.stats

    @cached_property
    def folder(self) -> Path | None:
        """Where the code is kept; None where there is no place that is the user's own."""
        try:
            name = _content_name([self._function, *self._callees])
            return _opened(user_cache() / name)
        except OSError:
            return None

    @cached_property
    def _dispatcher(self) -> Any:
        extending: Any = import_module("numba.extending")
        for function in self._callees:
            extending.register_jitable(function)
        return _dispatcher(self._function, self.folder)

    def _compile(self, types: tuple[Any, ...]) -> None:
        """From the cache, or into it: one process at a time, the others wait and find it there."""
        try:
            with _one_at_a_time(self.folder):
                self._dispatcher.compile(types)
        except _DAMAGED:
            if self.folder is None:
                raise
            shutil.rmtree(self.folder, ignore_errors=True)  # the next process makes it anew
            self.folder = None
            self._dispatcher = _dispatcher(self._function, None)
            self._dispatcher.compile(types)


def user_cache() -> Path:
    """The folder of compiled code: below $XDG_CACHE_HOME, else ~/.cache. Raises OSError where the
    user has no home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        raise FileNotFoundError(f"no absolute path to a cache folder, got {base!r}")
    return Path(base) / "trimtab" / "compiled"


def _content_name(functions: Sequence[Callable[..., Any]]) -> str:
    """Of everything that the compiled code depends on, but for the processor, which Numba's index
    tells apart. Raises OSError where there are no source files."""
    files = sorted({inspect.getsourcefile(function) or "" for function in functions})
    made_by = [sys.version, *map(version, ("numba", "llvmlite", "numpy"))]
    digest = hashlib.sha256("\n".join(made_by).encode())
    for file in files:
        digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()[:32]


def _opened(folder: Path) -> Path:
    """The folder, made where it is not there, and marked as used. What others may write must not
    be run: raises OSError."""
    fresh = not folder.is_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise PermissionError(f"{folder} belongs to or is writable by others")
    os.utime(folder)
    if fresh:
        _remove_unused(folder.parent)
    return folder


def _remove_unused(root: Path) -> None:
    for folder in root.iterdir():
        with suppress(OSError):  # another process may be removing it, too
            if time.time() - folder.stat().st_mtime > _UNUSED_S:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_at_a_time(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    try:
        lock = FileLock(folder / "lock", timeout=_WAIT_S)
        with lock:
            yield
    except Timeout as error:
        raise OSError(f"{folder}: another process has compiled for {_WAIT_S:g} s") from error


def _dispatcher(function: Callable[..., Any], folder: Path | None) -> Any:
    """Numba's compiler of the function; its cache is in the folder or nowhere."""
    numba: Any = import_module("numba")
    if folder is None:
        return numba.njit(function)
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        made = numba.njit(cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before
    if Path(made.stats.cache_path).is_relative_to(folder):
        return made
    # $NUMBA_CACHE_LOCATOR_CLASSES leads elsewhere, where changed callees would go unnoticed.
    return numba.njit(function)
