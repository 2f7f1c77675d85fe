"""One image through a stage, every part timed apart; and what is learned from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from trimtab_runtime.errors import InferenceError
from trimtab_runtime.memory import Recall
from trimtab_runtime.preprocess import Preprocessor
from trimtab_runtime.routing import decide
from trimtab_runtime.stage import LoadedStage

Sample = tuple[float, float, float]


class Chains:
    """Stages whose parts are timed: a whole stage is one part, one in segments as many as it has.

    With a memory, frames go `begin`, then stages in any order, then `finish`. The thresholds of
    that memory must never fire; it learns from every frame.
    """

    def __init__(self, stages: Sequence[LoadedStage], recall: Optional[Recall]) -> None:
        self._stages, self._recall = list(stages), recall
        taps = [len(stage.taps) for stage in stages]
        self._first_tap = [sum(taps[:number]) for number in range(len(taps))]
        #: Number of the first part of each stage, counted over all of them.
        self.positions = [first + n for n, first in enumerate(self._first_tap)]
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

    def run(self, number: int, image: Preprocessor) -> list[Sample]:
        """Milliseconds of resizing, of making the tensor, and of inference with the decision (or
        the look-up), for every part of a stage."""
        stage, clock = self._stages[number], time.perf_counter_ns
        fmt, recall, samples = stage.variant.input, self._recall, []
        start = clock()
        image.pixels(fmt)
        resized = clock()
        image.tensor(fmt)
        ready = clock()
        resize_ms, tensor_ms = (resized - start) / 1e6, (ready - resized) / 1e6
        stage.start(image)
        for tap in range(len(stage.taps)):
            vector, logits = stage.tap()
            assert recall is not None
            recall.at_tap(vector, logits, self._first_tap[number] + tap)
            end = clock()
            samples.append((resize_ms, tensor_ms, (end - ready) / 1e6))
            resize_ms, tensor_ms, ready = 0.0, 0.0, end
        said = stage.finish()
        if recall is not None:
            said = recall.weighed(said)
        _, confidence = decide(said)
        end = clock()
        samples.append((resize_ms, tensor_ms, (end - ready) / 1e6))
        if not np.isfinite(confidence):
            raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
        self._said = said
        return samples

    def finish_ms(self) -> Optional[float]:
        """Milliseconds of learning from the frame; None without a memory."""
        if self._recall is None:
            return None
        start = time.perf_counter_ns()
        self._recall.finish(self._said, int(self._said.argmax()))
        return (time.perf_counter_ns() - start) / 1e6
