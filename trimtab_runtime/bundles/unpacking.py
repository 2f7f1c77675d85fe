"""Files that are read and written below one open folder: no link is followed on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Optional

_CHUNK = 2**20
_UNPACKING = ".unpack-"
_UNPACKING_LASTS_S = 86400.0  # more than any
#: What some systems lack: a folder is then opened by its path.
_BY_FOLDER = os.open in os.supports_dir_fd
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0) | _NO_LINK
_READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def altered(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of the `files` (name -> sha256) that do not lie in the folder as regular files with
    these contents; all of them where it is no folder, or a link."""
    return [name for name, sha256 in files.items() if _sha256(folder, name) != sha256]


def _sha256(folder: Path, name: str) -> Optional[str]:
    try:
        with _opened(folder, name) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            digest = hashlib.sha256()
            while True:
                block = os.read(descriptor, _CHUNK)
                if not block:
                    return digest.hexdigest()
                digest.update(block)
    except OSError:
        return None


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[int]:
    """A file below a folder, each part of its name opened in the folder before."""
    if not _BY_FOLDER:
        descriptor = os.open(str(folder / name), _READ)
    else:
        *above, last = name.split("/")
        held = os.open(str(folder), os.O_RDONLY | _FOLDER)
        try:
            for part in above:
                inner = os.open(part, os.O_RDONLY | _FOLDER, dir_fd=held)
                os.close(held)
                held = inner
            descriptor = os.open(last, _READ, dir_fd=held)
        finally:
            os.close(held)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def replace_folder(
    folder: Path, write: Callable[[Path], None], is_sound: Callable[[], bool]
) -> None:
    """Have `folder` hold what `write` puts into an empty one, all of it and on the disk, or
    nothing. What lay there before, if only a link, is put aside and removed, unless it `is_sound`
    by now: another process was faster."""
    _remove_cut_off(folder.parent)
    partial = Path(tempfile.mkdtemp(prefix=_UNPACKING, dir=str(folder.parent)))
    try:
        write(partial)
        for place, _, _ in os.walk(str(partial)):
            _to_disk(place)
        try:
            os.rename(str(partial), str(folder))
        except OSError:  # something lies there
            if is_sound():
                return
            aside = Path(tempfile.mkdtemp(prefix=_UNPACKING, dir=str(folder.parent)))
            with suppress(FileNotFoundError):
                os.rename(str(folder), str(aside / "before"))  # of a link, the link itself
            with suppress(OSError):  # another process was faster: its content is the same
                os.rename(str(partial), str(folder))
            shutil.rmtree(str(aside), ignore_errors=True)
        _to_disk(str(folder.parent))
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)


def write_file(target: Path, blocks: Iterator[bytes]) -> str:
    """Write a new file to the disk; its sha256."""
    digest = hashlib.sha256()
    with target.open("xb") as sink:
        for block in blocks:
            digest.update(block)
            sink.write(block)
        sink.flush()
        os.fsync(sink.fileno())
    return digest.hexdigest()


def _to_disk(folder: str) -> None:
    """Have the names in a folder on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_cut_off(cache: Path) -> None:
    """Remove what killed processes had begun to unpack."""
    for left in cache.glob(_UNPACKING + "*"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > _UNPACKING_LASTS_S:
                shutil.rmtree(str(left), ignore_errors=True)
