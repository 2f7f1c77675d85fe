"""The layer profile of a model: where its time goes on a device, operator by operator.

The layer profile of a variant of the store, measured where its measurement was made."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trimtab.db import MeasurementRecord, Store
from trimtab.planner.reports.layer_profile import LayerProfile, NodeTime, by_operator
from trimtab.planner.reports.operators_alone import profile_alone
from trimtab.planner.reports.text import device_text, printable
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


def profile_layers(
    device: Device,
    model: Path,
    options: RuntimeOptions,
    runs: int = 50,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> LayerProfile:
    """Measure the operators of a model file on a device: of an ONNX file the nodes that the engine
    runs, by its profiler; of a TFLite file each alone. `size` (height, width) is for a file that
    leaves it open; the engine of the `options` is that of the file.

    Raises ModelError or EngineError where the file is none that its engine runs, and DeviceError.
    """
    if not model.is_file():
        raise ModelError(f"{model}: there is no such file")
    if model.suffix.lower() == ".tflite":
        return profile_alone(device, model, options, runs, progress)
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
        device=device_text(device.address, told),
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
        operators=by_operator(nodes),
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


def why_no_layers(store: Store, record: MeasurementRecord) -> str | None:
    """Why the layers of a measured variant cannot be measured now; None where they can."""
    variant = store.get_variant(record.variant_key)
    device = store.get_device(record.device_key)
    if variant is None or device is None or variant.artefact_sha256 is None:
        return "its file is not in the store"
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
        model = Path(folder) / f"model.{variant.format}"
        model.symlink_to(store.artefacts.path(variant.artefact_sha256))
        options = decode(RuntimeOptions, record.options)
        return profile_layers(connect("local"), model, options, size=tuple(size) if size else None)
