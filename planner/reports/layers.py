"""The layer profile of a model: where its time goes on a device, operator by operator.

The layer profile of a variant of the store, measured where its measurement was made."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.db import MeasurementRecord, Store
from trimtab.planner.reports.text import printable
from trimtab.profilers import Device, ProbeResult, connect
from trimtab.profilers.device import Progress, device_key, machine_key
from trimtab.variants import (
    Executed,
    Origin,
    Wishes,
    holds_weights,
    open_in_subprocess,
    origins_in_subprocess,
)
from trimtab_runtime.codec import decode
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import EngineError, ModelError, PlanningError
from trimtab_runtime.probe.requests import LayersRequest


@dataclass(frozen=True)
class NodeTime:
    """A node as the engine ran it, in its order.

    `median_ms` and `mean_ms` are over the profiled runs, scaled so that those of all nodes add up
    to a run without profiler; `share` is that of the medians. `originals` are (name, operator) of
    the file's nodes that it carries out, as far as names tell; `multiply_accumulates` theirs for
    one image (None: not known). `shape` is its output's ("1x64x56x56").
    """

    name: str
    operator: str
    weights: bool
    median_ms: float
    mean_ms: float
    share: float
    shape: str
    multiply_accumulates: int | None
    originals: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OperatorTime:
    """All nodes of an operator together; see NodeTime."""

    operator: str
    weights: bool
    nodes: int
    median_ms: float
    mean_ms: float
    share: float
    multiply_accumulates: int | None


@dataclass(frozen=True)
class LayerProfile:
    """Times of a model on a device.

    `median_ms` and `mean_ms` are of whole runs without profiler, `profiled_median_ms` of those
    with it, on noise as input. `share_without_weights` is the time of operators that multiply with
    no matrix or kernels of weights (pooling, normalisation, Concat, element by element, changes of
    layout).
    """

    model: str
    device: str
    engine: str
    threads: int
    runs: int
    median_ms: float
    mean_ms: float
    profiled_median_ms: float
    share_without_weights: float
    unsteadiness: float
    warnings: tuple[str, ...]
    device_key: str
    operators: tuple[OperatorTime, ...]
    nodes: tuple[NodeTime, ...]

    @property
    def profiler_adds(self) -> float:
        """What the profiler adds to a run, as a share of it."""
        return self.profiled_median_ms / self.median_ms - 1

    def plain(self) -> dict[str, Any]:
        """For JSON; unknown is None."""
        found = {**asdict(self), "profiler_adds": self.profiler_adds}
        for node in found["nodes"]:
            pairs = node.pop("originals")
            node["originals"] = [{"name": name, "operator": kind} for name, kind in pairs]
        return found


def profile_layers(
    device: Device,
    model: Path,
    options: RuntimeOptions,
    runs: int = 50,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> LayerProfile:
    """Measure the nodes of an ONNX file on a device. `size` (height, width) is for a file that
    leaves it open.

    Raises ModelError or EngineError where the file is none that onnxruntime runs, and DeviceError.
    """
    if model.suffix.lower() != ".onnx":
        raise EngineError(
            f"{model.name}: only ONNX files have layer profiles; LiteRT has none for Python "
            "(use its tool benchmark_model --enable_op_profiling=true)"
        )
    if not model.is_file():
        raise ModelError(f"{model}: there is no such file")
    with tempfile.TemporaryDirectory(prefix="trimtab-view-") as folder:
        view = open_in_subprocess(model, Path(folder), Wishes(size=size))
        if view.beside:
            raise ModelError(f"{model.name}: its weights are more than the 2 GB of a single file")
        request = LayersRequest(device.put(view.path), options, "", runs, size)
        found = device.probe(request, progress=progress)
        names, operators = (found.arrays[key].tolist() for key in ("name", "operator"))
        executed = [Executed(*pair) for pair in zip(names, operators, strict=True)]
        origins = origins_in_subprocess(view.path, executed, size)
    return _profile(device, model, request, found, _nodes(found, executed, origins))


def _profile(
    device: Device,
    model: Path,
    request: LayersRequest,
    found: ProbeResult,
    nodes: tuple[NodeTime, ...],
) -> LayerProfile:
    told = device.fingerprint()
    plain, profiled = found.samples["plain_ms"], found.samples["profiled_ms"]
    return LayerProfile(
        model=model.name,
        device=f"{device.address} ({told.get('cpu', 'unknown')}, {told.get('cores', '?')} cores)",
        engine=f"onnxruntime {told.get('onnxruntime', '')}".strip(),
        threads=request.options.threads,
        runs=len(plain),
        median_ms=float(np.median(plain)),
        mean_ms=float(np.mean(plain)),
        profiled_median_ms=float(np.median(profiled)),
        share_without_weights=sum(node.share for node in nodes if not node.weights),
        unsteadiness=found.values["unsteadiness"],
        warnings=tuple(found.warnings),
        device_key=device_key(told),
        operators=_operators(nodes),
        nodes=nodes,
    )


def _nodes(
    found: ProbeResult, executed: Sequence[Executed], origins: Sequence[Origin]
) -> tuple[NodeTime, ...]:
    """Profiled times, scaled to the runs without profiler."""
    ms, plain = found.arrays["ms"], found.samples["plain_ms"]
    medians, means = np.median(ms, axis=0), ms.mean(axis=0)
    total = medians.sum()
    if not total > 0:
        raise EngineError(
            "the profiler counts whole microseconds, and this model takes less than one in every "
            "node; its layers cannot be told apart"
        )
    shares = medians / total
    scaled = means * (np.mean(plain) / means.sum())
    return tuple(
        NodeTime(
            name=each.name,
            operator=each.operator,
            weights=holds_weights(each.operator),
            median_ms=float(share * np.median(plain)),
            mean_ms=float(mean_ms),
            share=float(share),
            shape=str(shape),
            multiply_accumulates=origin.multiply_accumulates,
            originals=origin.nodes,
        )
        for each, origin, share, mean_ms, shape in zip(
            executed, origins, shares, scaled, found.arrays["shape"], strict=True
        )
    )


def _operators(nodes: Sequence[NodeTime]) -> tuple[OperatorTime, ...]:
    """The slowest first."""
    groups: dict[str, list[NodeTime]] = {}
    for node in nodes:
        groups.setdefault(node.operator, []).append(node)
    found = [
        OperatorTime(
            operator=operator,
            weights=group[0].weights,
            nodes=len(group),
            median_ms=sum(node.median_ms for node in group),
            mean_ms=sum(node.mean_ms for node in group),
            share=sum(node.share for node in group),
            multiply_accumulates=_total([node.multiply_accumulates for node in group]),
        )
        for operator, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.share))


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def originals_text(node: NodeTime) -> str:
    """What a node carries out of the file, in short: "Conv + Relu"."""
    kinds: Mapping[str, None] = dict.fromkeys(kind for _, kind in node.originals)
    return " + ".join(kinds)


def why_no_layers(store: Store, record: MeasurementRecord) -> str | None:
    """Why the layers of a measured variant cannot be measured now; None where they can."""
    variant = store.get_variant(record.variant_key)
    device = store.get_device(record.device_key)
    if variant is None or device is None or variant.artefact_sha256 is None:
        return "its file is not in the store"
    if variant.format != "onnx":
        return f"it is a {variant.format} file, and only onnxruntime can profile operators"
    local = connect("local")
    fingerprint = local.fingerprint()
    known = store.known_as(local.address, fingerprint, local.identity())
    if known.key != record.device_key:
        return f"it was measured on another device ({printable(device.address)}); profile it there"
    lease = store.lease_holder(machine_key(fingerprint, local.machine()))
    if lease is not None:
        return f"{printable(lease.holder)} is measuring on this device; wait until it is done"
    return None


def layers_of(store: Store, record: MeasurementRecord) -> LayerProfile:
    """Measure them, with the options of the measurement. Raises PlanningError where that cannot
    be done now, EngineError, ModelError or DeviceError."""
    why = why_no_layers(store, record)
    variant = store.get_variant(record.variant_key)
    if why is not None or variant is None or variant.artefact_sha256 is None:
        raise PlanningError(why or "the variant is not in the store")
    size = variant.io["input"].get("size")
    with tempfile.TemporaryDirectory(prefix="trimtab-layers-") as folder:
        model = Path(folder) / "model.onnx"
        model.symlink_to(store.artefacts.path(variant.artefact_sha256))
        options = decode(RuntimeOptions, record.options)
        return profile_layers(connect("local"), model, options, size=tuple(size) if size else None)
