"""A device whose times and memory are made up, for tests of what follows from them."""

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
from trimtab_runtime.definitions.plan import Structure
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
#: MB of a process, of each engine, and of what a file leaves there for each of its own.
_START_MB, _ENGINE_MB, _RESIDENT = 40.0, 20.0, 3.0
_NEVER_S = 3600.0
#: Factors of the times of a sample, in turn: the least that has a spread.
_TURNS = (0.99, 1.01)
_INFERENCE = re.compile(r"(\d+)(_(hot|beside)_inference)?_ms")


class SteadyDevice(Device):
    """Another device, with times and memory that are the same on every machine, however busy it
    is, and in whatever process it answers.

    A part of a model takes 0.05 ms and 1 ms for every MB of its file, alone or beside others; the
    reference work takes 2 ms, and all else that takes time (resizing, a router's features, ...)
    0.02 ms; in turn 1 % less and 1 % more. A bundle takes what its parts take. A process takes
    40 MB, 20 for each engine, and four times its files, of which a quarter for a moment. Answers
    and outputs are the device's own; nothing is warned of. Nothing is waited for: of what a
    request leaves open, each is done as seldom as it may be.
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
        found = self._device.probe(_brief(request), **how)
        if isinstance(request, PairedRequest):
            return self._paired(request, found)
        values = {**found.values, "unsteadiness": 0.0}
        if isinstance(request, VerifyRequest):
            bundle = _Bundle(self._file(request.bundle))
            found = dataclasses.replace(
                found, arrays={**found.arrays, "latency_ms": bundle.times_ms(found.arrays)}
            )
            values |= {"load_ms": _load_ms(bundle.loaded), "peak_memory_mb": bundle.peak_mb}
        elif isinstance(request, MeasureRequest):
            values |= self._footprint(request)
        elif not isinstance(request, (RaceRequest, FeaturesRequest)):
            return found
        parts = [_part_ms(self._size(file)) for file in _files(request)]
        return dataclasses.replace(
            found,
            values=values,
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
            times[own] = _Bundle(self._file(bundle)).times_ms(answers)
        return dataclasses.replace(found, arrays={**arrays, "latency_ms": times}, warnings=[])

    def _footprint(self, request: MeasureRequest) -> dict[str, float]:
        """What loading and running take; a bundle of the same files has the same peak."""
        names = _files(request)
        names += [name for file in request.stages for name in (file.arrays, file.scorer) if name]
        names += [request.router.model] if request.router is not None else []
        sizes = [self._size(name) for name in names]
        engines = {file.options.engine for file in request.stages}
        if request.router is not None or any(file.scorer for file in request.stages):
            engines.add("onnxruntime")
        transient = sum(sizes) / 2**20
        return {
            "load_ms": _load_ms(sizes),
            "start_mb": _START_MB,
            "engine_mb": _ENGINE_MB * len(engines),
            "resident_mb": _RESIDENT * sum(sizes) / 2**20,
            "load_transient_mb": transient,
            "run_transient_mb": transient,
            "peak_mb": _peak_mb(sizes, len(engines)),
        }

    def _size(self, placed: str) -> int:
        return self._file(placed).stat().st_size

    def _file(self, placed: str) -> Path:
        return self._local.get(placed, Path(placed))


def _brief(request: Any) -> Any:
    """The same request for as short a time as it allows."""
    if isinstance(request, MeasureRequest):
        settings = dataclasses.replace(
            request.settings, seconds=0.0, max_seconds=_NEVER_S, warmup_seconds=0.0
        )
        return dataclasses.replace(request, settings=settings)
    if isinstance(request, PairedRequest):
        turns = dataclasses.replace(
            request.settings, sittings=1, spread_seconds=0.0, max_seconds=_NEVER_S, visits=1
        )
        return dataclasses.replace(request, settings=turns)
    return request


class _Bundle:
    """What a bundle takes, by the files that its plan loads."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            manifest = read_manifest(archive.read(MANIFEST_NAME))
            held = {name: archive.getinfo(name).file_size for name in manifest.files}
        held |= {n: sum(p.length for p in pieces) for n, pieces in (manifest.shared or {}).items()}
        sizes = {manifest.files[name]: size for name, size in held.items()}
        structure = manifest.structure
        self._routed = structure.router is not None
        self._stages = _parts_of(manifest, sizes)
        self.loaded = _loaded(structure, sizes)
        engines = {stage.options.engine for stage in structure.stages}
        if self._routed or any(stage.scorer for stage in structure.stages):
            engines.add("onnxruntime")
        self.peak_mb = _peak_mb(self.loaded, len(engines))

    def times_ms(self, answers: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        """Milliseconds of each answer, (images,)."""
        stages = self._stages
        before = [sum(len(parts) - 1 for parts in stages[:n]) for n in range(len(stages))]
        rows = zip(*(answers[name] for name in ("entry", "stage", "tap", "by")), strict=True)
        times = []
        for entry, last, tap, by in rows:
            ran = [parts for parts in stages[entry:last]]
            if ANSWERED_BY[by] == "network":
                ran.append(stages[last])
            elif tap >= 0:
                ran.append(stages[last][: tap - before[last] + 1])
            overheads = 2 * len(ran) + self._routed
            times.append(sum(map(sum, ran)) + max(overheads, 1) * _SMALL_MS)
        return np.array(times, np.float64)


def _load_ms(sizes: Sequence[int]) -> float:
    return sum(map(_part_ms, sizes))


def _peak_mb(sizes: Sequence[int], engines: int) -> float:
    return _START_MB + _ENGINE_MB * engines + (_RESIDENT + 1) * sum(sizes) / 2**20


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


def _parts_of(manifest: Manifest, sizes: Mapping[str, int]) -> list[list[float]]:
    """Milliseconds of every part of each stage."""
    return [
        [
            _part_ms(sizes[sha256])
            for sha256 in (stage.exits.segments if stage.exits else (stage.variant,))
        ]
        for stage in manifest.structure.stages
    ]


def _loaded(structure: Structure, sizes: Mapping[str, int]) -> list[int]:
    """Bytes of every file that is loaded for a plan."""
    names: list[str] = []
    for stage in structure.stages:
        names += [*stage.exits.segments, stage.exits.arrays] if stage.exits else [stage.variant]
        names += [stage.scorer.model] if stage.scorer else []
    names += [structure.router.model] if structure.router is not None else []
    return [sizes[name] for name in names if name in sizes]
