"""Traces of variants, and verification of whole bundles."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.fingerprint import thread_limit
from trimtab_runtime.images.largest import largest_image
from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.plans.plan import Answer, Plan
from trimtab_runtime.plans.stage import LoadedStage, SegmentedStage
from trimtab_runtime.probe.clock import (
    ParallelReference,
    Reference,
    peak_mb,
    pin,
    settle,
    timed_ms,
)
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.energy import find_meter, measure_energy
from trimtab_runtime.probe.footprint import load_file
from trimtab_runtime.probe.measure import spread, unsteady
from trimtab_runtime.probe.requests import MeasureSettings, TraceRequest, VerifyRequest

Progress = Callable[[int, int], None]

#: Frames of a stream, in their order, that the energy of a plan with a memory is measured on, and
#: pixels that these may have together beyond the first 24.
_ENERGY_FRAMES, _ENERGY_PIXELS = 480, 2**25
#: Images that run once more, to see whether the answers are the same.
_REPEATED = 16


def trace(request: TraceRequest, progress: Progress) -> dict[str, Any]:
    """Write `outputs` (images, classes) float32 to the request's file; of a stage in segments also
    `vector_0` (images, channels) ... as its taps give them, and `thumbnails` (images, size) where
    these are asked for.

    Cores that one engine leaves idle run engines of their own on other images, which changes no
    bit of an answer. Raises InferenceError on NaN or infinity, naming the image.
    """
    file = request.stage
    workers = max(1, thread_limit() // file.options.threads)
    stages: queue.SimpleQueue[LoadedStage] = queue.SimpleQueue()
    for _ in range(workers):
        stages.put(load_file(file))

    def row_of(path: str) -> dict[str, Any]:
        image, stage = Preprocessor(decode_image(path)), stages.get()
        try:
            row = _run_through(stage, image)
        finally:
            stages.put(stage)
        for name, values in row.items():
            if not np.isfinite(values).all():
                what = "" if name == "outputs" else f" ({name})"
                raise InferenceError(f"{file.variant.name} gave NaN or infinity{what} for {path}")
        if request.thumbnails:
            row["thumbnails"] = image.thumbnail()
        return row

    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(row_of, request.images):
            rows.append(row)
            progress(len(rows), len(request.images))
    arrays: dict[str, Any] = {name: np.stack([r[name] for r in rows]) for name in rows[0]}
    np.savez(request.output, **arrays)
    return {
        "values": {"classes": float(rows[0]["outputs"].shape[0])},
        "samples": {},
        "warnings": [],
    }


def _run_through(stage: LoadedStage, image: Preprocessor) -> dict[str, Any]:
    """Vectors at all taps, and outputs."""
    if not isinstance(stage, SegmentedStage):
        return {"outputs": stage.outputs(image)}
    stage.start(image)
    row = {f"vector_{tap}": stage.tap()[0].copy() for tap in range(len(stage.taps))}
    return {**row, "outputs": stage.engine.finish()}


def verify(request: VerifyRequest, progress: Progress) -> dict[str, Any]:
    """Run a bundle over the images and write `index`, `entry`, `stage`, `confidence`,
    `latency_ms`, `tap` (-1: none) and `by` (who answered, a number of
    trimtab_runtime.memory.kernel), (images,) each, to the request's file.

    Memory first, as long as nothing else is in the process. Then images are decoded in groups of
    `reference_every`. Before a group is timed, an inference, the reference and another inference
    run uncounted: the reference meets the same caches as in a measurement, and neither it nor the
    decoding cools those of what is timed. Nothing that is uncounted is learned from.
    """
    manifest, _ = open_bundle(request.bundle)
    threads = max(stage.options.threads for stage in manifest.structure.stages)
    pin(threads)
    plan, load_ms = timed_ms(lambda: Plan.load(request.bundle))
    values = {"load_ms": load_ms}
    deciding = request.images[: request.deciding]
    with largest_image(request.largest_pixels) as largest:
        peak = _peak_mb(plan, deciding, largest, progress)
    if peak is not None:
        values["peak_memory_mb"] = peak
    reference, conditions = Reference(), Conditions()
    times: list[float] = []
    parallel_times: list[float] = []
    answers: list[Answer] = []
    resets = frozenset(request.reset_at)
    with closing(ParallelReference(threads)) as parallel:
        reference.run_ms()
        parallel.run_ms()
        conditions.start()
        step = request.reference_every
        for start in range(0, len(request.images), step):
            images = [decode_image(path) for path in request.images[start : start + step]]
            plan.rehearse(images[0])
            settle(manifest.structure.stages[0].options)
            conditions.sample()
            parallel_times.append(parallel.run_ms())
            times.append(reference.run_ms())
            plan.rehearse(images[0])
            for image in images:
                if plan.memory is not None and len(answers) in resets:
                    plan.memory.reset()
                answers.append(plan.classify(image))
                progress(len(answers), len(request.images))
        found = conditions.finish()
    np.savez(
        request.output,
        index=np.array([a.index for a in answers], np.int64),
        entry=np.array([a.entry for a in answers], np.int64),
        stage=np.array([a.stage for a in answers], np.int64),
        confidence=np.array([a.confidence for a in answers], np.float32),
        latency_ms=np.array([a.latency_ms for a in answers], np.float64),
        tap=np.array([-1 if a.tap is None else a.tap for a in answers], np.int64),
        by=np.array([ANSWERED_BY.index(a.by) for a in answers], np.int64),
    )
    values["repeat_mismatch"] = _repeat_mismatch(plan, request, answers)
    energy, details = _energy(plan, deciding)
    unsteadiness = spread(times)
    return {
        "values": {
            "unsteadiness": unsteadiness,
            "reference_threads": float(threads),
            **found.values,
            **values,
            **energy,
        },
        "samples": {"reference_ms": times, "parallel_ms": parallel_times},
        "warnings": unsteady(unsteadiness, found.warnings),
        "details": details,
    }


def _repeat_mismatch(plan: Plan, request: VerifyRequest, answers: list[Answer]) -> float:
    """The share of the first images, up to where the memory was forgotten again, that the plan
    answers otherwise when they run once more. Nothing stays learned."""
    ends = [at for at in request.reset_at if at > 0]
    images = request.images[: min([_REPEATED, *ends])]
    if plan.memory is not None:
        plan.memory.reset()
    again = [plan.classify(decode_image(path)) for path in images]
    if plan.memory is not None:
        plan.memory.reset()
    differ = [_told(one) != _told(other) for one, other in zip(again, answers)]
    return sum(differ) / len(differ)


def _told(answer: Answer) -> tuple[Any, ...]:
    """What of an answer must be the same twice."""
    return answer.index, answer.entry, answer.stage, answer.tap, answer.by, answer.confidence


def _peak_mb(
    plan: Plan, images: tuple[str, ...], largest: Sequence[str], progress: Progress
) -> Optional[float]:
    """Largest resident size with one decoded image at a time, once every stage has run to its end
    that these images reach; the `largest` in front of them. Nothing stays learned."""
    ran: set[int] = set()
    for path in largest:
        plan.classify(path)
        progress(0, len(images))
    for number, path in enumerate(images):
        answer = plan.classify(path)
        ran.update(range(answer.entry, answer.stage + (answer.by == "network")))
        progress(0, len(images))
        if len(ran) == len(plan.manifest.structure.stages) and number >= 7:
            break
    if plan.memory is not None:
        plan.memory.reset()
    return peak_mb()


def _energy(plan: Plan, images: tuple[str, ...]) -> tuple[dict[str, float], dict[str, str]]:
    """Energy of an answer to the first images, and how it was found; nothing without a sensor."""
    meter = find_meter()
    if meter is None:
        return {}, {}
    decoded = _decoded(images, 24 if plan.memory is None else _ENERGY_FRAMES)
    turns = itertools.cycle(range(len(decoded)))

    def once() -> None:
        number = next(turns)
        if number == 0 and plan.memory is not None:
            plan.memory.reset()
        plan.classify(decoded[number])

    settings = MeasureSettings()
    found = measure_energy(meter, once, settings.idle_seconds, settings.energy_seconds)
    if plan.memory is not None:
        plan.memory.reset()
    if "energy_mj" in found:
        found["energy_mean_mj"] = found.pop("energy_mj")
    return found, {"energy_method": meter.method}


def _decoded(images: tuple[str, ...], most: int) -> list[Any]:
    """The first images, as many as fit into a little memory."""
    found, pixels = [], 0
    for path in images[:most]:
        found.append(decode_image(path))
        pixels += found[-1].width * found[-1].height
        if len(found) >= 24 and pixels > _ENERGY_PIXELS:
            break
    return found
