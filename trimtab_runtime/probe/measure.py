"""Load time, memory and latency of one variant."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definition import Stage
from trimtab_runtime.engines import create_engine, engine_module_loaded
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.plan import LoadedStage
from trimtab_runtime.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.clock import (
    Reference,
    peak_mb,
    pin,
    resident_mb,
    settle,
    timed_ms,
)
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings
from trimtab_runtime.routing import decide

Sample = tuple[float, float, float]

#: Interquartile range of the reference work, relative to its median, of a steady device.
STEADY = 0.15

#: Parts of one stage's time, in the order of a sample.
PARTS = ("resize_ms", "tensor_ms", "inference_ms")


def measure(request: MeasureRequest) -> dict[str, Any]:
    """Values (numbers), samples (raw, milliseconds) and warnings of one variant."""
    pin(request.options.threads)
    memory = {"start": resident_mb()}
    images = [decode_image(path) for path in request.images]
    memory["images"] = resident_mb()
    engine_module_loaded(request.options.engine)
    memory["engine"] = resident_mb()
    engine, load_ms = timed_ms(
        lambda: create_engine(request.model, request.variant, request.options)
    )
    memory["loaded"], memory["load_peak"] = resident_mb(), peak_mb()
    stage = LoadedStage(engine, Stage(request.variant.sha256, request.options))
    for image in images[:3]:
        run_once(stage, image)
    memory["warm"], memory["run_peak"] = resident_mb(), peak_mb()
    pictures = itertools.cycle(images)
    _warm_up(stage, pictures, request.settings)
    samples, reference = _rounds(stage, request, pictures)
    found: dict[str, list[float]] = {"reference_ms": reference}
    for context, rows in samples.items():
        for part, column in zip(PARTS, zip(*rows)):
            found[f"{context}_{part}"] = list(column)
    low, middle, high = np.percentile(reference, [25, 50, 75])
    unsteadiness = float((high - low) / middle)
    return {
        "values": {"load_ms": load_ms, "unsteadiness": unsteadiness, **_memory_values(memory)},
        "samples": found,
        "warnings": _warnings(unsteadiness),
    }


def run_once(stage: LoadedStage, image: Any) -> Sample:
    """Milliseconds of resizing, of making the tensor, and of inference with the decision."""
    clock, fmt = time.perf_counter_ns, stage.variant.input
    start = clock()
    prepared = Preprocessor(image)
    prepared.pixels(fmt)
    resized = clock()
    prepared.tensor(fmt)
    ready = clock()
    _, confidence = decide(stage.probabilities(stage.outputs(prepared)))
    end = clock()
    if not np.isfinite(confidence):
        raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
    return (resized - start) / 1e6, (ready - resized) / 1e6, (end - ready) / 1e6


def _warm_up(stage: LoadedStage, images: Iterator[Any], settings: MeasureSettings) -> None:
    """Run until two windows of ten agree within 5 %, at most ten times `warmup_seconds`."""
    begin, times = time.perf_counter(), [0.0]
    while True:
        times.append(sum(run_once(stage, next(images))))
        elapsed = time.perf_counter() - begin
        last, before = np.median(times[-10:]), np.median(times[-20:-10] or [0.0])
        steady = len(times) > 20 and abs(last - before) <= 0.05 * before
        if elapsed >= settings.warmup_seconds and (
            steady or elapsed >= 10 * settings.warmup_seconds
        ):
            return


def _rounds(
    stage: LoadedStage, request: MeasureRequest, images: Iterator[Any]
) -> tuple[dict[str, list[Sample]], list[float]]:
    settings, reference, begin = request.settings, Reference(), time.perf_counter()
    reference.run_ms()
    samples: dict[str, list[Sample]] = {"beside": [], "hot": []}
    times: list[float] = []
    for number in range(settings.max_rounds):
        elapsed = time.perf_counter() - begin
        if elapsed > settings.max_seconds and number:
            break
        if elapsed > settings.seconds and number >= settings.min_rounds:
            break
        settle(request.options)
        times.append(reference.run_ms())
        samples["beside"].append(run_once(stage, next(images)))
        samples["hot"].extend(run_once(stage, next(images)) for _ in range(settings.hot_per_round))
    return samples, times


def _memory_values(memory: dict[str, Optional[float]]) -> dict[str, float]:
    """Differences in MB; nothing where the system does not tell."""
    known = {name: value for name, value in memory.items() if value is not None}
    if len(known) < len(memory):
        return {}
    return {
        "start_mb": known["start"],
        "engine_mb": known["engine"] - known["images"],
        "resident_mb": known["warm"] - known["engine"],
        "load_transient_mb": max(0.0, known["load_peak"] - known["loaded"]),
        "run_transient_mb": max(0.0, known["run_peak"] - known["warm"]),
        "peak_mb": known["run_peak"] - (known["images"] - known["start"]),
    }


def _warnings(unsteadiness: float) -> list[str]:
    if unsteadiness <= STEADY:
        return []
    return [
        f"unstable: the reference work spread by {unsteadiness:.0%} during the measurement; "
        "stop other programs on the device and measure again"
    ]
