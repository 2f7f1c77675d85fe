"""Load time, memory, energy and latency of stages that share a process.

A round is the reference work (on the threads of the stages, then the plain one, which leaves the
caches as it always did), then the stages as a cascade would run them, each part timed apart:
the first stage several times in a row (`hot`), then every stage after somebody else has used the
caches (`beside`): the stage before it or, where there is only one, the reference work.

A stage in segments always runs to its end, each segment timed with the look-up behind it: no
threshold fires, and the memory is full and learns from every frame.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.chains import Chains, Sample
from trimtab_runtime.probe.clock import ParallelReference, Reference, pin, settle
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.energy import find_meter, measure_energy
from trimtab_runtime.probe.footprint import load_stages
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings

Progress = Callable[[int, int], None]

#: Interquartile range of the reference work, relative to its median, of a steady device.
STEADY = 0.2

#: Parts of one stage's time, in the order of a sample.
PARTS = ("resize_ms", "tensor_ms", "inference_ms")


def measure(request: MeasureRequest, progress: Progress) -> dict[str, Any]:
    """Values (numbers), samples (raw, milliseconds) and warnings of the stages together.

    `reference_ms` and `parallel_ms` are those of the reference work, once a round, the latter on
    `reference_threads`. Others are named by position, context and part: `0_hot_inference_ms`.
    Positions count stages,
    of a stage in segments each of these, of which only the first resizes. With a memory, there are
    also `learn_ms`, of a frame that passed all taps of all stages, and `thumbnail_ms`, of making a
    thumbnail and looking it up, where they are kept. With a router there is `router_ms`, of a new
    image's features and scores (of the scores alone, for kind 'tap'); with scorers `2_scorer_ms`,
    for the last part of a stage at position 2. Stages resize for themselves, whatever the router
    has resized.
    """
    threads = max(file.options.threads for file in request.stages)
    pin(threads)
    loaded, values = load_stages(request, progress)
    rounds = _Rounds(Chains(loaded), request, progress)
    rounds.warm_up()
    conditions = Conditions()
    conditions.start()
    with closing(ParallelReference(threads)) as parallel:
        samples = rounds.run(conditions, parallel)
    found = conditions.finish()
    unsteadiness = spread(samples["reference_ms"])
    details = {}
    meter = find_meter() if len(request.stages) == 1 else None
    if meter is not None:
        settings = request.settings
        values.update(
            measure_energy(meter, rounds.once, settings.idle_seconds, settings.energy_seconds)
        )
        details["energy_method"] = meter.method
    return {
        "values": {
            "unsteadiness": unsteadiness,
            "reference_threads": float(threads),
            **found.values,
            **values,
        },
        "samples": samples,
        "warnings": unsteady(unsteadiness, found.warnings),
        "details": details,
    }


def spread(reference: Sequence[float]) -> float:
    """Interquartile range of the reference work's times, relative to their median."""
    low, middle, high = np.percentile(reference, [25, 50, 75])
    return float((high - low) / middle)


def unsteady(unsteadiness: float, causes: Sequence[str]) -> list[str]:
    """The warnings of a measurement: its causes, or that none was found."""
    if unsteadiness <= STEADY or causes:
        return list(causes)
    return [
        f"the reference work varied by {unsteadiness:.0%} during the measurement, and no cause "
        "was found; stop other processes on the device, or use a dedicated machine"
    ]


class _Rounds:
    """Runs stages over and over on the same few images."""

    def __init__(self, chains: Chains, request: MeasureRequest, progress: Progress) -> None:
        self._chains, self._progress = chains, progress
        self._settings: MeasureSettings = request.settings
        self._options = request.stages[0].options
        self._others = range(1, len(request.stages))
        # Whether the first stage alone passes all taps there are.
        self._passes_all = not any(file.exits for file in request.stages[1:])
        self._images: Iterator[Any] = itertools.cycle([decode_image(p) for p in request.images])
        self._samples: dict[tuple[int, str], list[Sample]] = {}
        self._overheads: dict[str, list[float]] = {}

    def once(self) -> None:
        """One inference of the first stage."""
        self._chains.begin()
        decoded = next(self._images)
        image = Preprocessor(decoded)
        self._chains.thumbnail_ms(image)
        self._chains.router_ms(Preprocessor(decoded))
        self._chains.run(0, image)
        self._chains.finish_ms()
        self._progress(0, 1)

    def warm_up(self) -> None:
        """Run until two windows of ten agree within 5 %, at most ten times `warmup_seconds`."""
        begin, times, least = time.perf_counter(), [0.0], self._settings.warmup_seconds
        while True:
            start = time.perf_counter()
            self._chains.begin()
            for number in (0, *self._others):
                decoded = next(self._images)
                image = Preprocessor(decoded)
                if number == 0:
                    self._chains.thumbnail_ms(image)
                    self._chains.router_ms(Preprocessor(decoded))
                self._chains.run(number, image)
            self._chains.finish_ms()
            times.append(time.perf_counter() - start)
            self._progress(0, 1)
            elapsed = time.perf_counter() - begin
            last, before = np.median(times[-10:]), np.median(times[-20:-10] or [0.0])
            steady = len(times) > 20 and abs(last - before) <= 0.05 * before
            if elapsed >= least and (steady or elapsed >= 10 * least):
                return

    def run(self, conditions: Conditions, parallel: ParallelReference) -> dict[str, list[float]]:
        """Raw samples in milliseconds, by name."""
        settings, reference, begin = self._settings, Reference(), time.perf_counter()
        reference.run_ms()
        parallel.run_ms()
        times: list[float] = []
        parallel_times: list[float] = []
        for number in range(settings.max_rounds):
            elapsed = time.perf_counter() - begin
            if elapsed > settings.max_seconds and number:
                break
            if elapsed > settings.seconds and number >= settings.min_rounds:
                break
            settle(self._options)
            conditions.sample()
            parallel_times.append(parallel.run_ms())
            times.append(reference.run_ms())
            self._round(reference)
        return {
            "reference_ms": times,
            "parallel_ms": parallel_times,
            **self._by_name(),
            **self._overheads,
        }

    def _round(self, reference: Reference) -> None:
        settings, alone = self._settings, not self._others
        if not alone:
            self.once()  # what runs after the reference work is nobody's sample
        for turn in range(settings.beside_per_round):
            image = Preprocessor(next(self._images))
            self._chains.begin()
            for number in self._others:
                self._keep(number, "beside", self._chains.run(number, image))
            if alone and turn:
                settle(self._options)
                reference.run_ms()
            self._first("beside")
            self._learn(True)
            for _ in range(settings.hot_per_beside):
                self._chains.begin()
                self._first("hot")
                self._learn(self._passes_all)

    def _first(self, context: str) -> None:
        decoded = next(self._images)
        image = Preprocessor(decoded)
        self._keep_overhead("thumbnail_ms", self._chains.thumbnail_ms(image))
        self._keep_overhead("router_ms", self._chains.router_ms(Preprocessor(decoded)))
        self._keep(0, context, self._chains.run(0, image))

    def _learn(self, passed_all: bool) -> None:
        taken = self._chains.finish_ms()
        if passed_all:
            self._keep_overhead("learn_ms", taken)

    def _keep(self, stage: int, context: str, samples: Sequence[Sample]) -> None:
        for position, sample in enumerate(samples, self._chains.positions[stage]):
            self._samples.setdefault((position, context), []).append(sample)
        for name, taken in self._chains.overheads.items():
            self._keep_overhead(name, taken)
        self._progress(0, 1)

    def _keep_overhead(self, name: str, taken: Optional[float]) -> None:
        if taken is not None:
            self._overheads.setdefault(name, []).append(taken)

    def _by_name(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for (position, context), rows in self._samples.items():
            for part, column in zip(PARTS, zip(*rows)):
                found[f"{position}_{context}_{part}"] = list(column)
        return found
