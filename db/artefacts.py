"""Files named by their sha256: `FOLDER/ab/abcdef...`, written once, checked when read."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trimtab_runtime.errors import StoreError

_CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.part")


@dataclass(frozen=True)
class StoredFile:
    """A file of the artefact store; one that is being written, or was left so, has no sha256."""

    path: Path
    sha256: str | None
    size_bytes: int
    age_s: float


class ArtefactStore:
    """A folder of files. Processes and threads may share it; it is made with the first file.

    A file appears whole or not at all, also when the machine stops: it is written beside its
    place, flushed to the disk and renamed.
    """

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.read_only = read_only
        self._checked: dict[str, tuple[int, int, int]] = {}

    def put_file(self, source: str | Path) -> str:
        """Copy a file in; returns its sha256. StoreError if it cannot be read or written."""
        try:
            with Path(source).open("rb") as stream:
                return self._put(iter(lambda: stream.read(_CHUNK_BYTES), b""))
        except OSError as error:
            raise StoreError(f"cannot read {source}: {error}") from error

    def put_bytes(self, content: bytes) -> str:
        """Write a file; returns its sha256. StoreError if it cannot be written."""
        return self._put(iter((content,)))

    def path(self, sha256: str) -> Path:
        """The file, to be read only. StoreError if it is missing or was altered.

        The content is checked the first time, and again when the file's time or size changed.
        """
        place = self.place(sha256)
        if sha256 not in self._checked or self._checked[sha256] != _state(place):
            self.verify(sha256)
        return place

    def verify(self, sha256: str) -> None:
        """Read the whole file. StoreError unless its content has this sha256."""
        place = self.place(sha256)
        state = _state(place)
        try:
            with place.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise StoreError(
                f"artefact {sha256} is missing from {self.folder}; run the job again, or bring "
                "the folder along with the database"
            ) from error
        except OSError as error:
            raise StoreError(f"artefact {place} cannot be read: {error}") from error
        if found != sha256:
            raise StoreError(
                f"artefact {place} was altered (its sha256 is {found}); remove it and run the "
                "job again"
            )
        if state is not None:
            self._checked[sha256] = state

    def files(self) -> list[StoredFile]:
        """All files that this class made, and no others."""
        now = time.time()
        found = []
        for path in [*self.folder.glob("??/*"), *self.folder.glob(".*.part")]:
            whole = _SHA256.fullmatch(path.name) and path.parent.name == path.name[:2]
            if whole or _PARTIAL.fullmatch(path.name):
                with suppress(FileNotFoundError):  # renamed or removed just now
                    stat = path.stat()
                    sha256 = path.name if whole else None
                    found.append(StoredFile(path, sha256, stat.st_size, now - stat.st_mtime))
        return found

    def remove(self, path: Path) -> None:
        """Remove one of the `files`; none is fine too. StoreError if that is not permitted."""
        if self.read_only:
            raise StoreError(f"artefacts in {self.folder} are open for reading only")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"artefact {path} cannot be removed: {error}") from error

    def place(self, sha256: str) -> Path:
        """Where the file lies, or would."""
        if not _SHA256.fullmatch(sha256):
            raise StoreError(f"a sha256 has 64 digits of 0-9a-f, got {sha256!r}")
        return self.folder / sha256[:2] / sha256

    def _put(self, chunks: Iterator[bytes]) -> str:
        if self.read_only:
            raise StoreError(f"artefacts in {self.folder} are open for reading only")
        try:
            with self._temporary() as temporary:
                with temporary.open("xb") as stream:
                    sha256 = _write(stream, chunks)
                if not self._holds(sha256):
                    self._move(temporary, self.place(sha256))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "the disk is full; free some space" if full else str(error)
            raise StoreError(f"cannot keep an artefact in {self.folder}: {hint}") from error
        return sha256

    def _holds(self, sha256: str) -> bool:
        try:
            self.path(sha256)
        except StoreError:
            return False
        return True

    def _move(self, temporary: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        temporary.replace(place)
        _flush_folder(place.parent)
        _flush_folder(self.folder)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _write(stream: BinaryIO, chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        stream.write(chunk)
    stream.flush()
    os.fsync(stream.fileno())
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
