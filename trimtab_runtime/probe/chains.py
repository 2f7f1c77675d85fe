"""One image through a stage, every part timed apart; and what is learned from it."""

from __future__ import annotations

import time
from typing import Any, Optional

import numpy as np

from trimtab_runtime.errors import InferenceError
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.routing import decide
from trimtab_runtime.probe.footprint import Loaded

Sample = tuple[float, float, float]


class Chains:
    """Stages whose parts are timed: a whole stage is one part, one in segments as many as it has.

    With a memory, frames go `begin`, then stages in any order, then `finish`. The thresholds of
    that memory must never fire; it learns from every frame.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._stages, self._recall, self._router = loaded
        taps = [len(stage.taps) for stage in self._stages]
        self._first_tap = [sum(taps[:number]) for number in range(len(taps))]
        #: Number of the first part of each stage, counted over all of them.
        self.positions = [first + n for n, first in enumerate(self._first_tap)]
        #: Milliseconds in the last `run` of what is no part of a stage, by the name of a sample.
        self.overheads: dict[str, float] = {}
        self._said: Any = None

    def begin(self) -> None:
        """A new frame."""
        if self._recall is not None:
            self._recall.begin()

    def thumbnail_ms(self, image: Preprocessor) -> Optional[float]:
        """Milliseconds of making a thumbnail and looking it up; None where none are kept."""
        if self._recall is None or not self._recall.memory.thumbnails:
            return None
        start = time.perf_counter_ns()
        self._recall.at_thumbnail(image.thumbnail())
        return (time.perf_counter_ns() - start) / 1e6

    def router_ms(self, image: Preprocessor) -> Optional[float]:
        """Milliseconds of a router's features and scores; None without one, and where it waits
        for a tap."""
        if self._router is None or self._router.router.looks_at.at_tap:
            return None
        start = time.perf_counter_ns()
        self._router.enter(image, self._stages[0], 0.0)
        return (time.perf_counter_ns() - start) / 1e6

    def run(self, number: int, image: Preprocessor) -> list[Sample]:
        """Milliseconds of resizing, of making the tensor, and of inference with the decision (or
        the look-up), for every part of a stage."""
        stage, clock = self._stages[number], time.perf_counter_ns
        fmt, recall, samples = stage.variant.input, self._recall, []
        self.overheads = {}
        start = clock()
        image.pixels(fmt)
        resized = clock()
        image.tensor(fmt)
        ready = clock()
        resize_ms, tensor_ms = (resized - start) / 1e6, (ready - resized) / 1e6
        stage.start(image)
        for tap in range(len(stage.taps)):
            vector, logits = stage.tap()
            if recall is not None:
                recall.at_tap(vector, logits, self._first_tap[number] + tap)
            samples.append((resize_ms, tensor_ms, (clock() - ready) / 1e6))
            if tap == number == 0:
                self._score_tap(vector)
            resize_ms, tensor_ms, ready = 0.0, 0.0, clock()
        said = stage.finish()
        if recall is not None:
            said = recall.weighed(said)
        _, largest = decide(said)
        end = clock()
        samples.append((resize_ms, tensor_ms, (end - ready) / 1e6))
        if not np.isfinite(largest):
            raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
        if stage.scorer is not None:
            start = clock()
            stage.confidence(said, float(largest))
            last = self.positions[number] + len(stage.taps)
            self.overheads[f"{last}_scorer_ms"] = (clock() - start) / 1e6
        self._said = said
        return samples

    def _score_tap(self, vector: Any) -> None:
        router = self._router
        if router is not None and router.router.looks_at.at_tap:
            start = time.perf_counter_ns()
            router.entry(vector[None], 0.0)
            self.overheads["router_ms"] = (time.perf_counter_ns() - start) / 1e6

    def finish_ms(self) -> Optional[float]:
        """Milliseconds of learning from the frame; None without a memory."""
        if self._recall is None:
            return None
        start = time.perf_counter_ns()
        self._recall.finish(self._said, int(self._said.argmax()))
        return (time.perf_counter_ns() - start) / 1e6
