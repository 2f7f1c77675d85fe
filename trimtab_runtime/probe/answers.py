"""Traces of variants, and verification of whole bundles."""

from __future__ import annotations

import itertools
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.bundle import open_bundle
from trimtab_runtime.definition import Stage
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.fingerprint import core_count
from trimtab_runtime.plan import LoadedStage, Plan
from trimtab_runtime.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.clock import Reference, peak_mb, pin, settle, timed_ms
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.energy import find_meter, measure_energy
from trimtab_runtime.probe.measure import spread, unsteady
from trimtab_runtime.probe.requests import MeasureSettings, TraceRequest, VerifyRequest

Progress = Callable[[int, int], None]


def trace(request: TraceRequest, progress: Progress) -> dict[str, Any]:
    """Write `outputs` (images, classes) float32 to the request's file.

    Cores that one engine leaves idle run engines of their own on other images, which changes no
    bit of an answer. Raises InferenceError on NaN or infinity, naming the image.
    """
    file = request.stage
    workers = max(1, core_count() // file.options.threads)
    stages: queue.SimpleQueue[LoadedStage] = queue.SimpleQueue()
    for _ in range(workers):
        engine = create_engine(file.model, file.variant, file.options)
        stages.put(LoadedStage(engine, Stage(file.variant.sha256, file.options)))

    def outputs_of(path: str) -> Any:
        stage = stages.get()
        try:
            outputs = stage.outputs(Preprocessor(decode_image(path)))
        finally:
            stages.put(stage)
        if not np.isfinite(outputs).all():
            raise InferenceError(f"{file.variant.name} gave NaN or infinity for {path}")
        return outputs

    rows = []
    with ThreadPoolExecutor(workers) as pool:
        for outputs in pool.map(outputs_of, request.images):
            rows.append(outputs)
            progress(len(rows), len(request.images))
    np.savez(request.output, outputs=np.stack(rows))
    return {"values": {"classes": float(rows[0].shape[0])}, "samples": {}, "warnings": []}


def verify(request: VerifyRequest, progress: Progress) -> dict[str, Any]:
    """Run a bundle over the images and write `index`, `stage`, `confidence` and `latency_ms`
    (images,) to the request's file.

    Memory first, as long as nothing else is in the process. Then images are decoded in groups of
    `reference_every`. Before a group is timed, an inference, the reference and another inference
    run uncounted: the reference meets the same caches as in a measurement, and neither it nor the
    decoding cools those of what is timed.
    """
    manifest, _ = open_bundle(request.bundle)
    pin(max(stage.options.threads for stage in manifest.structure.stages))
    plan, load_ms = timed_ms(lambda: Plan.load(request.bundle))
    values = {"load_ms": load_ms}
    deciding = request.images[: request.deciding]
    peak = _peak_mb(plan, deciding, progress)
    if peak is not None:
        values["peak_memory_mb"] = peak
    reference, conditions = Reference(), Conditions()
    times: list[float] = []
    rows: list[tuple[int, int, float, float]] = []
    reference.run_ms()
    conditions.start()
    step = request.reference_every
    for start in range(0, len(request.images), step):
        images = [decode_image(path) for path in request.images[start : start + step]]
        plan.classify(images[0])
        settle(manifest.structure.stages[0].options)
        conditions.sample()
        times.append(reference.run_ms())
        plan.classify(images[0])
        for image in images:
            answer = plan.classify(image)
            rows.append((answer.index, answer.stage, answer.confidence, answer.latency_ms))
            progress(len(rows), len(request.images))
    found = conditions.finish()
    index, stage, confidence, latency = zip(*rows)
    np.savez(
        request.output,
        index=np.array(index, np.int64),
        stage=np.array(stage, np.int64),
        confidence=np.array(confidence, np.float32),
        latency_ms=np.array(latency, np.float64),
    )
    energy, details = _energy(plan, deciding)
    unsteadiness = spread(times)
    return {
        "values": {"unsteadiness": unsteadiness, **found.values, **values, **energy},
        "samples": {"reference_ms": times},
        "warnings": unsteady(unsteadiness, found.warnings),
        "details": details,
    }


def _peak_mb(plan: Plan, images: tuple[str, ...], progress: Progress) -> Optional[float]:
    """Largest resident size with one decoded image at a time, once every stage has run
    that these images reach."""
    deepest, last = 0, len(plan.manifest.structure.stages) - 1
    for number, path in enumerate(images):
        deepest = max(deepest, plan.classify(path).stage)
        progress(0, len(images))
        if deepest == last and number >= 7:
            break
    return peak_mb()


def _energy(plan: Plan, images: tuple[str, ...]) -> tuple[dict[str, float], dict[str, str]]:
    """Energy of an answer to the first images, and how it was found; nothing without a sensor."""
    meter = find_meter()
    if meter is None:
        return {}, {}
    turns = itertools.cycle([decode_image(path) for path in images[:24]])
    settings = MeasureSettings()
    found = measure_energy(
        meter,
        lambda: plan.classify(next(turns)),
        settings.idle_seconds,
        settings.energy_seconds,
    )
    if "energy_mj" in found:
        found["energy_mean_mj"] = found.pop("energy_mj")
    return found, {"energy_method": meter.method}
