"""What a probe wrote, read as from a stranger: bounded, and through a schema.

A board may be broken, be taken over, or not be what it says. So whatever does not fit is a
DeviceError that names the field, before anything is made of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.profilers.device import ProbeResult, probe_error
from trimtab.profilers.probe_arrays import ARRAYS, Array, read_arrays, wrong
from trimtab.profilers.probe_process import parsed
from trimtab_runtime.codec import DecodeError, decode
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.probe.requests import (
    FeaturesRequest,
    FingerprintRequest,
    LayersRequest,
    MeasureRequest,
    PairedRequest,
    RaceRequest,
    TraceRequest,
    VerifyRequest,
)

RESULT = "result.json"
#: Bytes of an answer without its arrays; of its arrays, at least and for each image.
MOST_RESULT, _ARRAYS, _AN_IMAGE = 16 * 2**20, 64 * 2**20, 2**19
_TEXT, _TEXTS = 4000, 200


def most_array_bytes(request: Any) -> int:
    """What the arrays that answer a request may take."""
    return _ARRAYS + _AN_IMAGE * len(getattr(request, "images", ()))


def read_result(folder: Path, request: Any) -> ProbeResult:
    """What a probe wrote into its folder. Raises the error that it tells, and DeviceError for what
    is no answer to the request."""
    found = decoded(_bytes_of(folder / RESULT, MOST_RESULT))
    path = folder / ARRAYS
    arrays = read_arrays(_file(path), most_array_bytes(request)) if path.exists() else {}
    return checked(dataclasses.replace(found, arrays=Told("arrays", arrays)), request)


class Told(dict[str, Any]):
    """A part of an answer; what it lacks is the device's fault."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._name = name

    def __missing__(self, key: str) -> Any:
        raise wrong(f"{self._name}.{key}: missing")


@dataclass(frozen=True)
class _Failure:
    error: str
    reason: str


def decoded(content: bytes) -> ProbeResult:
    """An answer without its arrays. Raises the error that it tells, and DeviceError."""
    told = parsed(content)
    if not isinstance(told, dict) or told.get("status") not in ("ok", "failed"):
        raise wrong("status: must be 'ok' or 'failed'")
    fields = {name: value for name, value in told.items() if name != "status"}
    if told["status"] == "failed":
        failure = _decoded(_Failure, fields)
        raise probe_error(failure.error, failure.reason[:_TEXT])
    return result_of(fields)


def result_of(fields: dict[str, Any]) -> ProbeResult:
    """A ProbeResult of parsed JSON, without arrays. Raises DeviceError, naming the field."""
    if "arrays" in fields:
        raise wrong("arrays: have no place in JSON")
    found: ProbeResult = _decoded(ProbeResult, fields)
    details = (json.dumps(value) for value in found.details.values())
    texts = [*found.warnings, *details, *found.fingerprint.values()]
    if len(texts) > _TEXTS or any(len(text) > _TEXT for text in texts):
        raise wrong(f"warnings, details, fingerprint: more than {_TEXTS} texts, or long ones")
    for name, value in found.values.items():
        if name.endswith(("_ms", "_mb")) and value < 0:
            raise wrong(f"values.{name}: must not be negative, got {value}")
    for name, samples in found.samples.items():
        if name.endswith("_ms") and min(samples, default=0.0) < 0:
            raise wrong(f"samples.{name}: must not be negative, got {min(samples)}")
    return dataclasses.replace(
        found, values=Told("values", found.values), samples=Told("samples", found.samples)
    )


def _decoded(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return decode(kind, fields)
    except DecodeError as error:
        raise wrong(str(error)) from None


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
                raise wrong(f"samples.{names[-1]}: must be as many as {names[0]}, and some")


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
        raise wrong("arrays.latency_ms: must be positive")
    ranges = {"index": (0, 2**31), "entry": (0, 2**15), "stage": (0, 2**15), "tap": (-1, 2**15)}
    for name, (low, high) in {**ranges, "by": (0, len(ANSWERED_BY))}.items():
        values = _shaped(result, name, (images,), "iu")
        if not ((values >= low) & (values < high)).all():
            raise wrong(f"arrays.{name}: {low} <= {name} < {high} must hold")
    _paced(result, -(-images // request.reference_every))


def _layered(result: ProbeResult, request: LayersRequest) -> None:
    _paced(result)
    ms = _shaped(result, "ms", (None, None), "f")
    for name in ("name", "operator", "shape"):
        _shaped(result, name, (ms.shape[1],), "U")
    for name in ("plain_ms", "profiled_ms"):
        if not result.samples[name]:
            raise wrong(f"samples.{name}: must be some")


def _told_what_it_is(result: ProbeResult, request: FingerprintRequest) -> None:
    if not result.fingerprint:
        raise wrong("fingerprint: missing")


def _in_turns(result: ProbeResult, request: PairedRequest) -> None:
    """An answer a row, a round of all bundles a block."""
    count = len(_shaped(result, "latency_ms", (None,), "f"))
    for name, most in (
        ("round", None),
        ("bundle", len(request.bundles)),
        ("image", len(request.images)),
    ):
        found = _shaped(result, name, (count,), "iu")
        if found.min() < 0 or (most is not None and found.max() >= most):
            raise wrong(f"arrays.{name}: out of range")
    rounds = len(_shaped(result, "round_block", (None,), "iu"))
    if result.arrays["round"].max() >= rounds:
        raise wrong(f"arrays.round: there are {rounds} rounds")
    _shaped(result, "round_order", (rounds, len(request.bundles)), "iu")
    for name in ("sitting", "start_s", "other_cpu", "steal", "pace", "disturbed"):
        _shaped(result, f"round_{name}", (rounds,), "iuf")
    if result.arrays["latency_ms"].min() < 0:
        raise wrong("arrays.latency_ms: must not be negative")


_CHECKS: dict[type, Callable[[ProbeResult, Any], None]] = {
    MeasureRequest: _measured,
    RaceRequest: _raced,
    TraceRequest: _traced,
    FeaturesRequest: _featured,
    VerifyRequest: _verified,
    LayersRequest: _layered,
    FingerprintRequest: _told_what_it_is,
    PairedRequest: _in_turns,
}


def _paced(result: ProbeResult, count: int | None = None) -> None:
    """The reference work, which everything is divided by."""
    reference = result.samples["reference_ms"]
    if not reference or min(reference) <= 0:
        raise wrong("samples.reference_ms: must be some, and positive")
    if count is not None:
        _count(result, "reference_ms", count)
    parallel = result.samples.get("parallel_ms", reference)
    if len(parallel) != len(reference) or min(parallel) <= 0:
        raise wrong(f"samples.parallel_ms: must be {len(reference)}, and positive")
    if result.values["unsteadiness"] < 0:
        raise wrong("values.unsteadiness: must not be negative")


def _count(result: ProbeResult, name: str, count: int) -> None:
    if len(result.samples[name]) != count:
        raise wrong(f"samples.{name}: must be {count}, got {len(result.samples[name])}")


def _shaped(result: ProbeResult, name: str, shape: tuple[int | None, ...], kinds: str) -> Array:
    """An array of this shape (None: any length but 0) and kind of numbers, all of them finite."""
    found = result.arrays[name]
    fits = len(shape) == found.ndim and all(
        size == wanted if wanted is not None else size > 0
        for size, wanted in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype.kind not in kinds:
        told = ", ".join("any" if size is None else str(size) for size in shape)
        raise wrong(f"arrays.{name}: must be ({told}), got {found.shape} {found.dtype}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise wrong(f"arrays.{name}: holds NaN or infinity")
    return found


def _bytes_of(path: Path, most_bytes: int) -> bytes:
    try:
        with _file(path).open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise wrong(f"{path.name}: {error.strerror}") from None
    if len(content) > most_bytes:
        raise wrong(f"{path.name}: more than {most_bytes // 2**20} MB")
    return content


def _file(path: Path) -> Path:
    """Itself, unless it is a pipe or a device, which may have no end."""
    if path.exists() and not path.is_file():
        raise wrong(f"{path.name}: is no file")
    return path
