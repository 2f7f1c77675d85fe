"""A plan that runs: engines loaded, one image in, one answer out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from trimtab_runtime.bundle import open_bundle
from trimtab_runtime.definition import OperatingPoint
from trimtab_runtime.describe import describe
from trimtab_runtime.early import ANSWERED_BY, load_recall, run_early
from trimtab_runtime.errors import BundleError, InferenceError
from trimtab_runtime.golden import (
    golden_images,
    other_answers,
    other_sequence,
    read_golden,
    unlike,
)
from trimtab_runtime.kernel import NEVER
from trimtab_runtime.manifest import MODELS_FOLDER, Manifest, arrays_name, segment_name
from trimtab_runtime.memory import Recall
from trimtab_runtime.preprocess import ImageLike, Preprocessor
from trimtab_runtime.routing import combine, decide
from trimtab_runtime.stage import LoadedStage, load_stage


@dataclass(frozen=True)
class Answer:
    """What a plan says of one image. `stage` (from 0) is where it stopped, `probabilities`
    (classes,) what it decided on. `by` is who answered ('network', 'thumbnails', 'instances',
    'centres', 'heads'), `tap` where, numbered over all stages; None where no tap answered."""

    index: int
    confidence: float
    stage: int
    latency_ms: float
    probabilities: Any = field(repr=False, compare=False)
    labels: Sequence[str] = field(repr=False, compare=False)
    by: str = "network"
    tap: Optional[int] = None

    @property
    def label(self) -> str:
        """The name of the class that is answered."""
        return name_of(self.labels, self.index)

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The five likeliest classes with their probabilities, the first of equals first."""
        order = np.argsort(-self.probabilities, kind="stable")[:5]
        return tuple((name_of(self.labels, int(i)), float(self.probabilities[i])) for i in order)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "label": self.label,
            "index": self.index,
            "confidence": self.confidence,
            "stage": self.stage,
            "by": self.by,
            "tap": self.tap,
            "latency_ms": self.latency_ms,
            "top": self.top,
        }


def name_of(labels: Sequence[str], index: int) -> str:
    """A class's name; its number where it has none."""
    return labels[index] if index < len(labels) else str(index)


class Plan:
    """A loaded plan. Use one from one thread at a time.

    `Plan.load("plan.pyz").classify(image)` is the whole use; :meth:`use` moves along the bundled
    operating points without loading anything again. Where answers depend on earlier images,
    `memory` is what the plan remembers (:class:`trimtab_runtime.memory.Recall`), else None.
    """

    def __init__(
        self,
        manifest: Manifest,
        stages: Sequence[LoadedStage],
        folder: Path,
        memory: Optional[Recall] = None,
    ) -> None:
        self.manifest = manifest
        self.labels = manifest.labels
        self.memory = memory
        self._stages = list(stages)
        self._folder = folder
        self._move(manifest.points[manifest.point])

    @classmethod
    def load(cls, path: str) -> Plan:
        """Check and unpack the bundle at `path`, and load its engines.

        Raises BundleError, EngineError (an engine is not installed) or ModelError.
        """
        manifest, folder = open_bundle(str(path))
        try:
            memory = load_recall(
                manifest.structure, len(manifest.labels), lambda sha: folder / arrays_name(sha)
            )
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from None
        variants = {variant.sha256: variant for variant in manifest.variants}
        stages = []
        for stage in manifest.structure.stages:
            variant = variants[stage.variant]
            file = str(folder / MODELS_FOLDER / variant.file_name)
            shas = stage.exits.segments if stage.exits else ()
            segments = [str(folder / segment_name(sha)) for sha in shas]
            stages.append(load_stage(stage, variant, file, segments))
        return cls(manifest, stages, folder, memory)

    @property
    def point(self) -> OperatingPoint:
        """The operating point in force."""
        return self._point

    def _move(self, point: OperatingPoint) -> None:
        self._point = point
        if self.memory is not None:
            self.memory.use(point.exits)

    def use(self, point: Optional[int] = None, latency_ms: Optional[float] = None) -> Plan:
        """Move to a bundled operating point: by number, or the best of those predicted to answer
        within `latency_ms` on average (the fastest where none is). Loads and forgets nothing."""
        points = self.manifest.points
        if (point is None) == (latency_ms is None):
            raise ValueError("give either point or latency_ms")
        if point is not None:
            if not 0 <= point < len(points):
                raise ValueError(f"0 <= point < {len(points)} must hold, got {point}")
            self._move(points[point])
            return self
        known = [p for p in points if "latency_mean_ms" in p.metrics]
        if not known:
            raise BundleError("the bundled operating points carry no latency")
        within = [p for p in known if p.metrics["latency_mean_ms"] <= float(latency_ms or 0)]
        cheapest = min(known, key=lambda p: p.metrics["latency_mean_ms"])
        self._move(max(within, key=lambda p: p.metrics["latency_mean_ms"], default=cheapest))
        return self

    def classify(self, image: Union[ImageLike, Preprocessor]) -> Answer:
        """The answer for one image: a path, a Pillow image or a uint8 array (H, W, 3); or one
        that was prepared before, by this plan or another, and need not be resized again.

        `latency_ms` runs from the decoded image to the answer, what is learned from it included.
        """
        prepared = image if isinstance(image, Preprocessor) else Preprocessor(image)
        if self.memory is not None:
            return self._early(prepared, self.memory, True)
        start = time.perf_counter_ns()
        probabilities, index, confidence, stage = self._run(prepared)
        elapsed = (time.perf_counter_ns() - start) / 1e6
        return Answer(index, confidence, stage, elapsed, probabilities, self.labels)

    def rehearse(self, image: Union[ImageLike, Preprocessor]) -> Answer:
        """As :meth:`classify`, but nothing is learned from the image."""
        prepared = image if isinstance(image, Preprocessor) else Preprocessor(image)
        if self.memory is None:
            return self.classify(prepared)
        return self._early(prepared, self.memory, False)

    def _early(self, prepared: Preprocessor, memory: Recall, learn: bool) -> Answer:
        rule, start = self.manifest.structure.rule, time.perf_counter_ns()
        found = run_early(self._stages, rule, self._point, memory, prepared, learn)
        elapsed = (time.perf_counter_ns() - start) / 1e6
        tap = None if found.tap == NEVER else found.tap
        return Answer(
            found.answer,
            found.confidence,
            found.stage,
            elapsed,
            found.probabilities,
            self.labels,
            ANSWERED_BY[found.by],
            tap,
        )

    def _run(self, prepared: Preprocessor) -> tuple[Any, int, float, int]:
        rule, total = self.manifest.structure.rule, None
        for position, stage in enumerate(self._stages):
            found = stage.probabilities(stage.outputs(prepared))
            total = combine(total, found, position, rule)
            index, value = decide(total)
            confidence = float(value)
            if not math.isfinite(confidence):
                raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
            if position == len(self._stages) - 1 or confidence >= self._point.thresholds[position]:
                break
        return total, int(index), confidence, position

    def golden_images(self) -> list[Any]:
        """The images of the self-test, uint8 (H, W, 3) each."""
        return golden_images(read_golden(self._folder))

    def selftest(self) -> list[str]:
        """Compare with the golden answers, which belong to the plan's own operating point and, if
        it remembers, to an empty memory. The list of what differs; empty when all is well. What
        is remembered stays as it was."""
        golden, in_force, memory = read_golden(self._folder), self._point, self.memory
        kept = memory.snapshot() if memory is not None else {}
        try:
            self._move(self.manifest.points[self.manifest.point])
            problems = unlike(golden, self._stages, self.manifest.tolerance)
            if memory is None:
                return problems + other_answers(golden, self.classify)
            memory.reset()
            return problems + other_sequence(golden, self.classify)
        finally:
            self._move(in_force)
            if memory is not None:
                memory.put_back(kept)

    def info(self) -> dict[str, Any]:
        """What the plan is, as plain data."""
        return describe(self.manifest, self._point)
