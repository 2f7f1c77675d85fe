"""Reading a bundle: check everything, unpack once into a private folder named by content.

The checks guard against corruption, not against forgery: a `.pyz` is code, and is run like code.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

from trimtab_runtime.bundles.cache import caches, check_safe
from trimtab_runtime.bundles.manifest import MANIFEST_NAME, Manifest, read_manifest
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
#: Every unpacked file bears this time, so that a later change shows (2000-01-01, in seconds).
_UNPACKED_TIME = 946684800
_UNPACKING = ".unpack-"
_UNPACKING_LASTS_S = 86400.0  # more than any


def open_bundle(path: str) -> tuple[Manifest, Path]:
    """The manifest and the folder that holds the unpacked files.

    Raises BundleError when the file is no bundle, damaged, or of another protocol, and when there
    is no folder to unpack into that is safe and can be written.
    """
    if not os.path.isfile(path):
        raise BundleError(f"{path}: no such file")
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
        folder = cache / name
        try:
            check_safe(cache)
            check_safe(folder)
            if not _is_intact(archive, manifest, folder):
                cache.mkdir(mode=0o700, parents=True, exist_ok=True)
                check_safe(cache)
                _unpack(archive, manifest, folder)
                check_safe(folder)  # where anybody may make folders, this is not yet ours before
        except (OSError, BundleError) as error:
            failures.append(error)
        else:
            return folder
    raise failures[0]


def _read_checked(archive: zipfile.ZipFile) -> tuple[bytes, Manifest]:
    entries = _safe_entries(archive)
    if MANIFEST_NAME not in entries:
        raise BundleError(f"no {MANIFEST_NAME} inside")
    if entries[MANIFEST_NAME].file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST_NAME} is too large")
    text = archive.read(MANIFEST_NAME)
    manifest = read_manifest(text)
    listed, found = set(manifest.files), set(entries) - {MANIFEST_NAME}
    if listed != found:
        odd = sorted(listed ^ found)[0]
        raise BundleError(f"{odd} is {'missing' if odd in listed else 'not in the manifest'}")
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


def _is_intact(archive: zipfile.ZipFile, manifest: Manifest, folder: Path) -> bool:
    """Whether every file lies there as it was unpacked, by size and time: a cleaner of caches, a
    loss of power or an editor show; hashing everything again would cost too much at each start."""
    for name in manifest.files:
        try:
            found = (folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if found.st_size != archive.getinfo(name).file_size or found.st_mtime != _UNPACKED_TIME:
            return False
    return True


def _unpack(archive: zipfile.ZipFile, manifest: Manifest, folder: Path) -> None:
    _remove_cut_off(folder.parent)
    partial = Path(tempfile.mkdtemp(prefix=_UNPACKING, dir=str(folder.parent)))
    try:
        for name, expected in manifest.files.items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if _copy_hashed(archive, name, target) != expected:
                raise BundleError(f"{name} is damaged: its sha256 is not {expected}")
            os.utime(str(target), (_UNPACKED_TIME, _UNPACKED_TIME))
        try:
            os.rename(str(partial), str(folder))
        except OSError:
            if not folder.is_dir():
                raise
            # Another process was faster, or what lies there was damaged: the content is the same.
            if not _is_intact(archive, manifest, folder):
                _replace(partial, folder, manifest)
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)


def _remove_cut_off(cache: Path) -> None:
    """Remove what killed processes had begun to unpack."""
    for left in cache.glob(_UNPACKING + "*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _UNPACKING_LASTS_S:
                shutil.rmtree(str(left), ignore_errors=True)


def _replace(partial: Path, folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(str(partial / name), str(folder / name))


def _copy_hashed(archive: zipfile.ZipFile, name: str, target: Path) -> str:
    left, digest = archive.getinfo(name).file_size, hashlib.sha256()
    with archive.open(name) as source, target.open("wb") as sink:
        while True:
            block = source.read(_CHUNK)
            if not block:
                break
            left -= len(block)
            if left < 0:
                raise BundleError(f"{name} is longer than it says")
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()
