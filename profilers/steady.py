"""A device whose times are made up, for tests of what follows from them."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.profilers.device import Device, ProbeResult
from trimtab_runtime.bundles.manifest import MANIFEST_NAME, Manifest, read_manifest
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.probe.requests import (
    FeaturesRequest,
    MeasureRequest,
    PairedRequest,
    RaceRequest,
    VerifyRequest,
)

REFERENCE_MS = 2.0
_PART_MS, _MB_MS, _SMALL_MS = 0.05, 1.0, 0.02
#: Factors of the times of a sample, in turn: the least that has a spread.
_TURNS = (0.99, 1.01)
_INFERENCE = re.compile(r"(\d+)(_(hot|beside)_inference)?_ms")


class SteadyDevice(Device):
    """Another device, with times that are the same on every machine, however busy it is.

    A part of a model takes 0.05 ms and 1 ms for every MB of its file, alone or beside others; the
    reference work takes 2 ms, and all else that takes time (resizing, a router's features, ...)
    0.02 ms; in turn 1 % less and 1 % more. A bundle takes what its parts take. Answers, outputs
    and memory are the device's own; nothing is warned of.
    """

    def __init__(self, device: Device) -> None:
        self.address, self._device = device.address, device
        self._local: dict[str, Path] = {}

    def close(self) -> None:
        self._device.close()

    def machine(self) -> str:
        return self._device.machine()

    def identity(self) -> str:
        return self._device.identity()

    @property
    def measures(self) -> bool:
        return False

    def put(self, path: Path) -> str:
        placed = self._device.put(path)
        self._local[placed] = path
        return placed

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        found = self._device.probe(request, **how)
        if isinstance(request, PairedRequest):
            return self._paired(request, found)
        if isinstance(request, VerifyRequest):
            times = _bundle_ms(self._file(request.bundle), found.arrays)
            found = dataclasses.replace(found, arrays={**found.arrays, "latency_ms": times})
        elif not isinstance(request, (MeasureRequest, RaceRequest, FeaturesRequest)):
            return found
        parts = [_part_ms(self._file(file).stat().st_size) for file in _files(request)]
        return dataclasses.replace(
            found,
            values={**found.values, "unsteadiness": 0.0},
            samples={name: _made_up(name, was, parts) for name, was in found.samples.items()},
            warnings=[],
        )

    def _paired(self, request: PairedRequest, found: ProbeResult) -> ProbeResult:
        """Nothing disturbs turns: each block is answered once, in the time that it takes."""
        arrays = dict(found.arrays)
        _, first = np.unique(arrays["round_block"], return_index=True)
        kept = np.isin(arrays["round"], first)
        for name, values in arrays.items():
            if name.startswith("round_"):
                arrays[name] = values[np.sort(first)]
            elif name != "round":
                arrays[name] = values[kept]
        arrays["round"] = np.searchsorted(np.sort(first), arrays["round"][kept])
        for name, value in (("other_cpu", 0.0), ("steal", 0.0), ("pace", 1.0), ("disturbed", 0)):
            arrays[f"round_{name}"] = np.full_like(arrays[f"round_{name}"], value)
        times = np.zeros(len(arrays["bundle"]))
        for number, bundle in enumerate(request.bundles):
            own = arrays["bundle"] == number
            answers = {name: arrays[name][own] for name in ("entry", "stage", "tap", "by")}
            times[own] = _bundle_ms(self._file(bundle), answers)
        return dataclasses.replace(found, arrays={**arrays, "latency_ms": times}, warnings=[])

    def _file(self, placed: str) -> Path:
        return self._local.get(placed, Path(placed))


def _part_ms(size: int) -> float:
    return _PART_MS + _MB_MS * size / 2**20


def _files(request: Any) -> list[str]:
    """Files of the parts that are timed one by one, in order."""
    if isinstance(request, RaceRequest):
        return list(request.files)
    stages = request.stages if isinstance(request, MeasureRequest) else ()
    return [file for stage in stages for file in (stage.segments or (stage.model,))]


def _made_up(name: str, times: Sequence[float], parts: Sequence[float]) -> list[float]:
    """As many times; what took none (a later part resizes nothing) takes none."""
    found = _INFERENCE.fullmatch(name)
    if name in ("reference_ms", "parallel_ms"):
        return [REFERENCE_MS] * len(times)
    mean = parts[int(found[1])] if found else _SMALL_MS
    return [mean * _TURNS[turn % 2] if time > 0 else 0.0 for turn, time in enumerate(times)]


def _bundle_ms(bundle: Path, answers: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Milliseconds of each answer of a bundle, (images,)."""
    with zipfile.ZipFile(bundle) as archive:
        manifest = read_manifest(archive.read(MANIFEST_NAME))
        held = {name: archive.getinfo(name).file_size for name in manifest.files}
    held |= {n: sum(p.length for p in pieces) for n, pieces in (manifest.shared or {}).items()}
    sizes = {manifest.files[name]: size for name, size in held.items()}
    stages = _parts_of(manifest, sizes)
    before = [sum(len(parts) - 1 for parts in stages[:number]) for number in range(len(stages))]
    rows = zip(*(answers[name] for name in ("entry", "stage", "tap", "by")), strict=True)
    times = []
    for entry, last, tap, by in rows:
        ran = [parts for parts in stages[entry:last]]
        if ANSWERED_BY[by] == "network":
            ran.append(stages[last])
        elif tap >= 0:
            ran.append(stages[last][: tap - before[last] + 1])
        overheads = 2 * len(ran) + (manifest.structure.router is not None)
        times.append(sum(map(sum, ran)) + max(overheads, 1) * _SMALL_MS)
    return np.array(times, np.float64)


def _parts_of(manifest: Manifest, sizes: Mapping[str, int]) -> list[list[float]]:
    """Milliseconds of every part of each stage."""
    return [
        [
            _part_ms(sizes[sha256])
            for sha256 in (stage.exits.segments if stage.exits else (stage.variant,))
        ]
        for stage in manifest.structure.stages
    ]
