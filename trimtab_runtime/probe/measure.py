"""Load time, memory, energy and latency of stages that share a process.

A round is the reference work, then the stages as a cascade would run them, each part timed apart:
the first stage several times in a row (`hot`), then every stage after somebody else has used the
caches (`beside`): the stage before it or, where there is only one, the reference work.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np

from trimtab_runtime.errors import InferenceError
from trimtab_runtime.plan import LoadedStage
from trimtab_runtime.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.clock import Reference, pin, settle
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.energy import find_meter, measure_energy
from trimtab_runtime.probe.footprint import load_stages
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings
from trimtab_runtime.routing import decide

Sample = tuple[float, float, float]
Progress = Callable[[int, int], None]

#: Interquartile range of the reference work, relative to its median, of a steady device.
STEADY = 0.2

#: Parts of one stage's time, in the order of a sample.
PARTS = ("resize_ms", "tensor_ms", "inference_ms")


def measure(request: MeasureRequest, progress: Progress) -> dict[str, Any]:
    """Values (numbers), samples (raw, milliseconds) and warnings of the stages together.

    Samples are named by stage, context and part: `0_hot_inference_ms`.
    """
    pin(max(file.options.threads for file in request.stages))
    stages, values = load_stages(request.stages, request.images, progress)
    rounds = _Rounds(stages, request, progress)
    rounds.warm_up()
    conditions = Conditions()
    conditions.start()
    samples = rounds.run(conditions)
    found = conditions.finish()
    unsteadiness = spread(samples["reference_ms"])
    details = {}
    meter = find_meter() if len(stages) == 1 else None
    if meter is not None:
        settings = request.settings
        values.update(
            measure_energy(meter, rounds.once, settings.idle_seconds, settings.energy_seconds)
        )
        details["energy_method"] = meter.method
    return {
        "values": {"unsteadiness": unsteadiness, **found.values, **values},
        "samples": samples,
        "warnings": unsteady(unsteadiness, found.warnings),
        "details": details,
    }


def run_once(stage: LoadedStage, prepared: Preprocessor) -> Sample:
    """Milliseconds of resizing, of making the tensor, and of inference with the decision."""
    clock, fmt = time.perf_counter_ns, stage.variant.input
    start = clock()
    prepared.pixels(fmt)
    resized = clock()
    prepared.tensor(fmt)
    ready = clock()
    _, confidence = decide(stage.probabilities(stage.outputs(prepared)))
    end = clock()
    if not np.isfinite(confidence):
        raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
    return (resized - start) / 1e6, (ready - resized) / 1e6, (end - ready) / 1e6


def spread(reference: Sequence[float]) -> float:
    """Interquartile range of the reference work's times, relative to their median."""
    low, middle, high = np.percentile(reference, [25, 50, 75])
    return float((high - low) / middle)


def unsteady(unsteadiness: float, causes: Sequence[str]) -> list[str]:
    """The warnings of a measurement: its causes, or that none was found."""
    if unsteadiness <= STEADY or causes:
        return list(causes)
    return [
        f"unstable: the reference work spread by {unsteadiness:.0%} during the measurement and no "
        "cause shows; stop other programs on the device, or give it a machine of its own"
    ]


class _Rounds:
    """Runs stages over and over on the same few images."""

    def __init__(
        self, stages: Sequence[LoadedStage], request: MeasureRequest, progress: Progress
    ) -> None:
        self._stages, self._progress = stages, progress
        self._settings: MeasureSettings = request.settings
        self._options = request.stages[0].options
        self._images: Iterator[Any] = itertools.cycle([decode_image(p) for p in request.images])
        self._samples: dict[tuple[int, str], list[Sample]] = {}

    def once(self) -> None:
        """One inference of the first stage."""
        run_once(self._stages[0], Preprocessor(next(self._images)))
        self._progress(0, 1)

    def warm_up(self) -> None:
        """Run until two windows of ten agree within 5 %, at most ten times `warmup_seconds`."""
        begin, times, least = time.perf_counter(), [0.0], self._settings.warmup_seconds
        while True:
            start = time.perf_counter()
            for stage in self._stages:
                run_once(stage, Preprocessor(next(self._images)))
            times.append(time.perf_counter() - start)
            self._progress(0, 1)
            elapsed = time.perf_counter() - begin
            last, before = np.median(times[-10:]), np.median(times[-20:-10] or [0.0])
            steady = len(times) > 20 and abs(last - before) <= 0.05 * before
            if elapsed >= least and (steady or elapsed >= 10 * least):
                return

    def run(self, conditions: Conditions) -> dict[str, list[float]]:
        """Raw samples in milliseconds, by name."""
        settings, reference, begin = self._settings, Reference(), time.perf_counter()
        reference.run_ms()
        times: list[float] = []
        for number in range(settings.max_rounds):
            elapsed = time.perf_counter() - begin
            if elapsed > settings.max_seconds and number:
                break
            if elapsed > settings.seconds and number >= settings.min_rounds:
                break
            settle(self._options)
            conditions.sample()
            times.append(reference.run_ms())
            self._round(reference)
        return {"reference_ms": times, **self._by_name()}

    def _round(self, reference: Reference) -> None:
        settings, alone = self._settings, len(self._stages) == 1
        if not alone:
            self._first()  # what runs after the reference work is nobody's sample
        for turn in range(settings.beside_per_round):
            image = Preprocessor(next(self._images))
            for number, stage in enumerate(self._stages[1:], 1):
                self._keep(number, "beside", run_once(stage, image))
            if alone and turn:
                settle(self._options)
                reference.run_ms()
            self._keep(0, "beside", self._first())
            for _ in range(settings.hot_per_beside):
                self._keep(0, "hot", self._first())

    def _first(self) -> Sample:
        return run_once(self._stages[0], Preprocessor(next(self._images)))

    def _keep(self, stage: int, context: str, sample: Sample) -> None:
        self._samples.setdefault((stage, context), []).append(sample)
        self._progress(0, 1)

    def _by_name(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for (stage, context), rows in self._samples.items():
            for part, column in zip(PARTS, zip(*rows)):
                found[f"{stage}_{context}_{part}"] = list(column)
        return found
