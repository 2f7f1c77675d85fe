"""Arrays of a stranger: what a file says of itself is looked at before anything is made of it."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from trimtab_runtime.errors import DeviceError

Array = np.ndarray[Any, Any]
ARRAYS = "arrays.npz"
_MOST_ARRAYS, _SAID = 1000, 300
#: What zipfile and numpy raise for a damaged file; it has no common base.
_DAMAGED = (
    OSError,
    ValueError,
    ArithmeticError,
    EOFError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path | IO[bytes], most_bytes: int, packed: bool = False) -> dict[str, Array]:
    """The arrays of an .npz file, which take no more memory than the file has bytes (nor, where
    they may be `packed`, than `most_bytes`). Raises DeviceError: headers are looked at before
    anything is allocated."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, most_bytes, packed)
            return {e.filename.removesuffix(".npy"): _read_array(archive, e) for e in entries}
    except DeviceError:
        raise
    except _DAMAGED as error:
        raise wrong(f"{ARRAYS}: {str(error)[:_SAID] or type(error).__name__}") from None


def _check_entries(entries: list[zipfile.ZipInfo], most_bytes: int, packed: bool) -> None:
    names = {entry.filename for entry in entries}
    if len(entries) > _MOST_ARRAYS or len(names) < len(entries):
        raise wrong(f"{ARRAYS}: more than {_MOST_ARRAYS} arrays, or two of a name")
    if sum(entry.file_size for entry in entries) > most_bytes:
        raise wrong(f"{ARRAYS}: more than {most_bytes / 2**20:.0f} MB")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED and not packed:
            raise wrong(f"{ARRAYS}.{entry.filename}: is compressed")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """An array whose header and content agree."""
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = read(stream)
        wanted = math.prod(shape) * kind.itemsize
        fits = kind.itemsize > 0 and wanted == entry.file_size - stream.tell()
        if kind.hasobject or min(shape, default=0) < 0 or not fits:
            raise wrong(f"{ARRAYS}.{entry.filename}: {shape} {kind} does not fit its content")
        content = np.frombuffer(bytearray(stream.read(wanted)), np.uint8)
        if len(content) != wanted or stream.read(1):
            raise wrong(f"{ARRAYS}.{entry.filename}: is cut off, or goes on")
        return content.view(kind).reshape(shape, order="F" if fortran else "C")


def wrong(text: str) -> DeviceError:
    """What is no answer, named by its field."""
    return DeviceError(f"the device's answer cannot be used: {text[:_SAID]}")
