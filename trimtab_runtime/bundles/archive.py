"""Reading a bundle: check everything, unpack once into a private folder named by content.

What lies there is hashed before each use, and unpacked again where it was altered. The checks
guard against corruption, not against forgery: a `.pyz` is code, and is run like code.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from trimtab_runtime.bundles.cache import caches, check_safe, safe_place
from trimtab_runtime.bundles.manifest import MANIFEST_NAME, Manifest, Piece, read_manifest
from trimtab_runtime.bundles.unpacking import altered, replace_folder, write_file
from trimtab_runtime.errors import BundleError

MAX_FILES = 1000
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_TOTAL_BYTES = 8 * 2**30
MAX_RATIO = 200
_CHUNK = 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What zipfile raises about an archive that is not sound (RuntimeError: it is encrypted).
_UNSOUND = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OverflowError,
    RuntimeError,
    ValueError,
)

#: Unpacking again where another process replaces the same folder in between.
_TRIES = 4


def open_bundle(path: str) -> tuple[Manifest, Path]:
    """The manifest and the folder that holds the unpacked files.

    Raises BundleError when the file is no bundle, damaged, or of another protocol, and when there
    is no folder to unpack into that is safe and can be written.
    """
    if not os.path.isfile(path):
        raise BundleError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise BundleError(
            f"{path}: its end is missing ({os.path.getsize(path)} bytes are there): it was cut "
            "short, or is no bundle; copy it again"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            text, manifest = _read_checked(archive)
            folder = _unpacked(archive, manifest, hashlib.sha256(text).hexdigest())
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None
    except _UNSOUND as error:
        raise BundleError(f"{path}: not a sound bundle ({error})") from None
    except OSError as error:
        raise BundleError(f"{path}: {error}; set TRIMTAB_CACHE to a writable folder") from None
    return manifest, folder


def _unpacked(archive: zipfile.ZipFile, manifest: Manifest, name: str) -> Path:
    """Where the content lies, in the first cache that is safe and has it or can take it."""
    failures: list[Exception] = []
    for cache in caches():
        try:
            folder = safe_place(cache) / name
            check_safe(folder)
            _fill(folder, archive, manifest)
            check_safe(folder)
        except (OSError, BundleError) as error:
            failures.append(error)
        else:
            return folder
    raise failures[0]


def _fill(folder: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
    """Have the content in the folder; other processes may do the same at the same time."""
    for _ in range(_TRIES):
        if not altered(folder, manifest.files):
            return
        replace_folder(
            folder,
            lambda partial: _unpack(archive, manifest, partial),
            lambda: not altered(folder, manifest.files),
        )
    if altered(folder, manifest.files):
        raise BundleError(f"{folder} does not keep what is written there")


def _read_checked(archive: zipfile.ZipFile) -> tuple[bytes, Manifest]:
    entries = _safe_entries(archive)
    if MANIFEST_NAME not in entries:
        raise BundleError(
            f"no {MANIFEST_NAME} inside: it was cut short, or is no bundle; copy it again"
        )
    if entries[MANIFEST_NAME].file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST_NAME} is too large")
    text = archive.read(MANIFEST_NAME)
    manifest = read_manifest(text)
    listed, found = set(manifest.files), set(entries) - {MANIFEST_NAME}
    if listed != found:
        odd = sorted(listed ^ found)[0]
        raise BundleError(f"{odd} is {'missing' if odd in listed else 'not in the manifest'}")
    total = sum(info.file_size for info in entries.values())
    for name, pieces in (manifest.shared or {}).items():
        total += sum(piece.length for piece in pieces)
        if total > MAX_TOTAL_BYTES:
            raise BundleError(f"{name} unpacks to too many bytes: refused")
    return text, manifest


def _safe_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise BundleError(f"at most {MAX_FILES} files are allowed, got {len(infos)}")
    total = 0
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name, parts = info.filename, info.filename.split("/")
        if name.startswith("/") or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
            raise BundleError(f"unsafe path {name!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BundleError(f"{name} is a symbolic link")
        if info.compress_type not in _METHODS:
            raise BundleError(f"{name} is compressed by an unknown method")
        if name in entries:
            raise BundleError(f"{name} occurs twice")
        total += info.file_size
        if total > MAX_TOTAL_BYTES or info.file_size > MAX_RATIO * (info.compress_size + 1024):
            raise BundleError(f"{name} unpacks to {info.file_size} bytes: refused")
        entries[name] = info
    return entries


def _unpack(archive: zipfile.ZipFile, manifest: Manifest, partial: Path) -> None:
    shared = manifest.shared or {}
    for name in sorted(manifest.files, key=lambda name: name in shared):  # whole ones first
        target, expected = partial / name, manifest.files[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        blocks = _blocks(archive, name)
        if name in shared:
            blocks = _joined(b"".join(blocks), shared[name], partial)
        if write_file(target, blocks) != expected:
            raise BundleError(f"{name} is damaged: its sha256 is not {expected}")


def _joined(own: bytes, pieces: tuple[Piece, ...], folder: Path) -> Iterator[bytes]:
    """A file put together of bytes of its `own` and of files that lie in the folder already."""
    for piece in pieces:
        if not piece.file:
            yield own[piece.start : piece.start + piece.length]
            continue
        with (folder / piece.file).open("rb") as stream:
            stream.seek(piece.start)
            yield stream.read(piece.length)


def _blocks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    left = archive.getinfo(name).file_size
    with archive.open(name) as source:
        while True:
            block = source.read(_CHUNK)
            if not block:
                return
            left -= len(block)
            if left < 0:
                raise BundleError(f"{name} is longer than it says")
            yield block
