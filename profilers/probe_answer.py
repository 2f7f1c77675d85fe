"""What a probe wrote, read as from a stranger: bounded, and through a schema.

A board may be broken, be taken over, or not be what it says. So whatever does not fit is a
DeviceError that names the field, before anything is made of it.
"""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from trimtab.profilers.device import ProbeResult, probe_error
from trimtab.profilers.probe_process import parsed
from trimtab_runtime.codec import DecodeError, decode
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.probe.requests import (
    FeaturesRequest,
    FingerprintRequest,
    LayersRequest,
    MeasureRequest,
    RaceRequest,
    TraceRequest,
    VerifyRequest,
)

RESULT, ARRAYS = "result.json", "arrays.npz"
#: Bytes of an answer without its arrays; of its arrays, at least and for each image.
MOST_RESULT, _ARRAYS, _AN_IMAGE = 16 * 2**20, 64 * 2**20, 2**19
_MOST_ARRAYS, _TEXT, _TEXTS, _SAID = 1000, 4000, 200, 300

Array = np.ndarray[Any, Any]


def most_array_bytes(request: Any) -> int:
    """What the arrays that answer a request may take."""
    return _ARRAYS + _AN_IMAGE * len(getattr(request, "images", ()))


def read_result(folder: Path, request: Any) -> ProbeResult:
    """What a probe wrote into its folder. Raises the error that it tells, and DeviceError for what
    is no answer to the request."""
    found = decoded(_bytes_of(folder / RESULT, MOST_RESULT))
    path = folder / ARRAYS
    arrays = read_arrays(path, most_array_bytes(request)) if path.exists() else {}
    return checked(dataclasses.replace(found, arrays=Told("arrays", arrays)), request)


class Told(dict[str, Any]):
    """A part of an answer; what it lacks is the device's fault."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._name = name

    def __missing__(self, key: str) -> Any:
        raise _wrong(f"{self._name}.{key}: missing")


@dataclass(frozen=True)
class _Failure:
    error: str
    reason: str


def decoded(content: bytes) -> ProbeResult:
    """An answer without its arrays. Raises the error that it tells, and DeviceError."""
    told = parsed(content)
    if not isinstance(told, dict) or told.get("status") not in ("ok", "failed"):
        raise _wrong("status: must be 'ok' or 'failed'")
    fields = {name: value for name, value in told.items() if name != "status"}
    if told["status"] == "failed":
        failure = _decoded(_Failure, fields)
        raise probe_error(failure.error, failure.reason[:_TEXT])
    return result_of(fields)


def result_of(fields: dict[str, Any]) -> ProbeResult:
    """A ProbeResult of parsed JSON, without arrays. Raises DeviceError, naming the field."""
    if "arrays" in fields:
        raise _wrong("arrays: have no place in JSON")
    found: ProbeResult = _decoded(ProbeResult, fields)
    texts = [*found.warnings, *found.details.values(), *found.fingerprint.values()]
    if len(texts) > _TEXTS or any(len(text) > _TEXT for text in texts):
        raise _wrong(f"warnings, details, fingerprint: more than {_TEXTS} texts, or long ones")
    for name, value in found.values.items():
        if name.endswith(("_ms", "_mb")) and value < 0:
            raise _wrong(f"values.{name}: must not be negative, got {value}")
    for name, samples in found.samples.items():
        if name.endswith("_ms") and min(samples, default=0.0) < 0:
            raise _wrong(f"samples.{name}: must not be negative, got {min(samples)}")
    return dataclasses.replace(
        found, values=Told("values", found.values), samples=Told("samples", found.samples)
    )


def _decoded(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return decode(kind, fields)
    except DecodeError as error:
        raise _wrong(str(error)) from None


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
    # What zipfile and numpy make of a damaged file has no common base.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError, KeyError) as error:
        raise _wrong(f"{ARRAYS}: {str(error)[:_SAID] or type(error).__name__}") from None


def _check_entries(entries: list[zipfile.ZipInfo], most_bytes: int, packed: bool) -> None:
    names = {entry.filename for entry in entries}
    if len(entries) > _MOST_ARRAYS or len(names) < len(entries):
        raise _wrong(f"{ARRAYS}: more than {_MOST_ARRAYS} arrays, or two of a name")
    if sum(entry.file_size for entry in entries) > most_bytes:
        raise _wrong(f"{ARRAYS}: more than {most_bytes / 2**20:.0f} MB")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED and not packed:
            raise _wrong(f"{ARRAYS}.{entry.filename}: is compressed")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """An array whose header and content agree."""
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = read(stream)
        wanted = math.prod(shape) * kind.itemsize
        fits = kind.itemsize > 0 and wanted == entry.file_size - stream.tell()
        if kind.hasobject or min(shape, default=0) < 0 or not fits:
            raise _wrong(f"{ARRAYS}.{entry.filename}: {shape} {kind} does not fit its content")
        content = np.frombuffer(bytearray(stream.read(wanted)), np.uint8)
        if len(content) != wanted or stream.read(1):
            raise _wrong(f"{ARRAYS}.{entry.filename}: is cut off, or goes on")
        return content.view(kind).reshape(shape, order="F" if fortran else "C")


def checked(result: ProbeResult, request: Any) -> ProbeResult:
    """The answer, if it is one to this request. Raises DeviceError, naming what is missing."""
    check = _CHECKS.get(type(request))
    if check is not None:
        check(result, request)
    return result


def _measured(result: ProbeResult, request: MeasureRequest) -> None:
    _paced(result)
    parts = [max(1, len(stage.segments)) for stage in request.stages]
    for position in range(sum(parts)):
        hot = position < parts[0] and request.settings.hot_per_beside > 0
        for context in ("beside", "hot") if hot else ("beside",):
            names = [f"{position}_{context}_{n}_ms" for n in ("resize", "tensor", "inference")]
            counts = {len(result.samples[name]) for name in names}
            if len(counts) != 1 or 0 in counts:
                raise _wrong(f"samples.{names[-1]}: must be as many as {names[0]}, and some")


def _raced(result: ProbeResult, request: RaceRequest) -> None:
    _paced(result)
    for number in range(len(request.files)):
        _count(result, f"{number}_ms", request.rounds)


def _traced(result: ProbeResult, request: TraceRequest) -> None:
    taps = len(request.stage.exits.taps) if request.stage.exits else 0
    names = ["outputs", *(f"vector_{tap}" for tap in range(taps))]
    names += ["thumbnails"] if request.thumbnails else []
    for name in names:
        _shaped(result, name, (len(request.images), None), "f")


def _featured(result: ProbeResult, request: FeaturesRequest) -> None:
    _shaped(result, "features", (len(request.images), len(request.names)), "f")
    _count(result, "features_ms", len(request.images))


def _verified(result: ProbeResult, request: VerifyRequest) -> None:
    images = len(request.images)
    for name, kind in {"confidence": "f", "latency_ms": "f"}.items():
        _shaped(result, name, (images,), kind)
    if not (result.arrays["latency_ms"] > 0).all():
        raise _wrong("arrays.latency_ms: must be positive")
    ranges = {"index": (0, 2**31), "entry": (0, 2**15), "stage": (0, 2**15), "tap": (-1, 2**15)}
    for name, (low, high) in {**ranges, "by": (0, len(ANSWERED_BY))}.items():
        values = _shaped(result, name, (images,), "iu")
        if not ((values >= low) & (values < high)).all():
            raise _wrong(f"arrays.{name}: {low} <= {name} < {high} must hold")
    _paced(result, -(-images // request.reference_every))


def _layered(result: ProbeResult, request: LayersRequest) -> None:
    _paced(result)
    ms = _shaped(result, "ms", (None, None), "f")
    for name in ("name", "operator", "shape"):
        _shaped(result, name, (ms.shape[1],), "U")
    for name in ("plain_ms", "profiled_ms"):
        if not result.samples[name]:
            raise _wrong(f"samples.{name}: must be some")


def _told_what_it_is(result: ProbeResult, request: FingerprintRequest) -> None:
    if not result.fingerprint:
        raise _wrong("fingerprint: missing")


_CHECKS: dict[type, Callable[[ProbeResult, Any], None]] = {
    MeasureRequest: _measured,
    RaceRequest: _raced,
    TraceRequest: _traced,
    FeaturesRequest: _featured,
    VerifyRequest: _verified,
    LayersRequest: _layered,
    FingerprintRequest: _told_what_it_is,
}


def _paced(result: ProbeResult, count: int | None = None) -> None:
    """The reference work, which everything is divided by."""
    reference = result.samples["reference_ms"]
    if not reference or min(reference) <= 0:
        raise _wrong("samples.reference_ms: must be some, and positive")
    if count is not None:
        _count(result, "reference_ms", count)
    if result.values["unsteadiness"] < 0:
        raise _wrong("values.unsteadiness: must not be negative")


def _count(result: ProbeResult, name: str, count: int) -> None:
    if len(result.samples[name]) != count:
        raise _wrong(f"samples.{name}: must be {count}, got {len(result.samples[name])}")


def _shaped(result: ProbeResult, name: str, shape: tuple[int | None, ...], kinds: str) -> Array:
    """An array of this shape (None: any length but 0) and kind of numbers, all of them finite."""
    found = result.arrays[name]
    fits = len(shape) == found.ndim and all(
        size == wanted if wanted is not None else size > 0
        for size, wanted in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype.kind not in kinds:
        told = ", ".join("any" if size is None else str(size) for size in shape)
        raise _wrong(f"arrays.{name}: must be ({told}), got {found.shape} {found.dtype}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise _wrong(f"arrays.{name}: holds NaN or infinity")
    return found


def _bytes_of(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise _wrong(f"{path.name}: {error.strerror}") from None
    if len(content) > most_bytes:
        raise _wrong(f"{path.name}: more than {most_bytes // 2**20} MB")
    return content


def _wrong(text: str) -> DeviceError:
    return DeviceError(f"the device's answer cannot be used: {text[:_SAID]}")
