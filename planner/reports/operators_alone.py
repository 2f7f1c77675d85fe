"""The layer profile of a TFLite file: LiteRT has no profiler that Python reaches, so each operator
runs alone, as a file of its own, in turn with the whole."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.reports.layer_profile import LayerProfile, NodeTime, by_operator
from trimtab.planner.reports.text import device_text
from trimtab.profilers import Device
from trimtab.profilers.device import Progress, device_key
from trimtab.variants import OperatorFile, holds_weights, operators_in_subprocess
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.probe.requests import RaceRequest

Floats = NDArray[np.float64]

_WARMUP_S = 0.02  # for each of the many files


def profile_alone(
    device: Device,
    model: Path,
    options: RuntimeOptions,
    runs: int,
    progress: Progress | None = None,
) -> LayerProfile:
    """Measure the operators of a TFLite file on a device. Raises ModelError where they cannot be
    told apart, EngineError and DeviceError."""
    options = dataclasses.replace(options, engine="litert")
    with tempfile.TemporaryDirectory(prefix="trimtab-operators-") as folder:
        parts, work = operators_in_subprocess(model, Path(folder))
        files = tuple(device.put(path) for path in (model, *(part.path for part in parts)))
        request = RaceRequest(files, options, runs, warmup_seconds=_WARMUP_S)
        found = device.probe(request, progress=progress)
    told = device.fingerprint()
    whole = np.array(found.samples["0_ms"])
    ms = np.array([found.samples[f"{number + 1}_ms"] for number in range(len(parts))])
    nodes = _nodes(parts, work, ms, whole)
    return LayerProfile(
        model=model.name,
        device=device_text(device.address, told),
        engine=str(told.get("litert", "LiteRT")),
        threads=options.threads,
        runs=len(whole),
        median_ms=float(np.median(whole)),
        mean_ms=float(whole.mean()),
        profiled_median_ms=float(np.median(ms, axis=1).sum()),
        share_without_weights=sum(node.share for node in nodes if not node.weights),
        unsteadiness=found.values["unsteadiness"],
        warnings=tuple(found.warnings),
        device_key=device_key(told),
        operators=by_operator(nodes),
        nodes=nodes,
        measured="alone",
    )


def _nodes(
    parts: Sequence[OperatorFile], work: Sequence[int], ms: Floats, whole: Floats
) -> tuple[NodeTime, ...]:
    """Times (operators, rounds), scaled to those of whole runs (rounds,)."""
    medians, means = np.median(ms, axis=1), ms.mean(axis=1)
    shares = medians / medians.sum()
    return tuple(
        NodeTime(
            name=part.name,
            operator=part.operator,
            weights=holds_weights(part.operator),
            median_ms=float(share * np.median(whole)),
            mean_ms=float(mean * whole.mean() / means.sum()),
            share=float(share),
            shape="x".join(map(str, part.shape)),
            multiply_accumulates=count,
            originals=((part.name, part.operator),),
        )
        for part, count, share, mean in zip(parts, work, shares, means, strict=True)
    )
