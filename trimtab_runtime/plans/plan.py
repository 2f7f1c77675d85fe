"""A plan that runs: engines loaded, one image in, one answer out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.description import describe
from trimtab_runtime.bundles.manifest import MODELS_FOLDER, Manifest, arrays_name, onnx_name
from trimtab_runtime.bundles.unpacking import altered
from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.errors import BundleError
from trimtab_runtime.images.preprocess import ImageLike, Preprocessor, prepare
from trimtab_runtime.memory.kernel import NEVER
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.plans.deciders import LoadedRouter, load_router
from trimtab_runtime.plans.early_exits import load_recall
from trimtab_runtime.plans.golden import (
    Golden,
    golden_images,
    other_answers,
    other_classes,
    other_sequence,
    read_golden,
    unlike,
)
from trimtab_runtime.plans.loop import ANSWERED_BY, run_plan
from trimtab_runtime.plans.stage import LoadedStage, load_stage
from trimtab_runtime.plans.tracking import Tracker, Tracking, best_within


@dataclass(frozen=True)
class Answer:
    """What a plan says of one image. `stage` (from 0) is where it stopped, `probabilities`
    (classes,) what it decided on. `by` is who answered ('network', 'thumbnails', 'instances',
    'centres', 'heads'), `tap` where, numbered over all stages; None where no tap answered.
    `entry` is the stage where the image entered: the first, unless a router picked another."""

    index: int
    confidence: float
    stage: int
    latency_ms: float
    probabilities: Any = field(repr=False, compare=False)
    labels: Sequence[str] = field(repr=False, compare=False)
    by: str = "network"
    tap: Optional[int] = None
    entry: int = 0

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
            "entry": self.entry,
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
    """A loaded plan, which any number of threads may use: images are decoded side by side and
    answered one after the other.

    `Plan.load("plan.pyz").classify(image)` is the whole use; :meth:`use` moves along the bundled
    operating points without loading anything again. Where answers depend on earlier images,
    `memory` is what the plan remembers (:class:`trimtab_runtime.memory.semantic.Recall`), else
    None: frames are learned in the order in which their answers are given. Save, restore or reset
    it while no other thread classifies.
    """

    def __init__(
        self,
        manifest: Manifest,
        stages: Sequence[LoadedStage],
        folder: Path,
        memory: Optional[Recall] = None,
        router: Optional[LoadedRouter] = None,
        path: Optional[str] = None,
    ) -> None:
        self.manifest = manifest
        self.labels = manifest.labels
        self.memory = memory
        self._stages = list(stages)
        self._folder, self._path = folder, path
        self._router = router
        self._tracker: Optional[Tracker] = None
        self._lock = threading.RLock()  # engines, memory and tracker know one image at a time
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
            segments = [str(folder / onnx_name(sha)) for sha in shas]
            scorer = str(folder / onnx_name(stage.scorer.model)) if stage.scorer else None
            stages.append(load_stage(stage, variant, file, segments, scorer))
        router = load_router(manifest.structure, lambda sha: folder / onnx_name(sha))
        return cls(manifest, stages, folder, memory, router, str(path))

    @property
    def point(self) -> OperatingPoint:
        """The operating point in force."""
        return self._point

    def _move(self, point: OperatingPoint) -> None:
        self._point = point
        if self.memory is not None:
            self.memory.use(point.exits)

    def use(
        self, point: Optional[int] = None, latency_ms: Optional[float] = None, **limits: float
    ) -> Plan:
        """Move to a bundled operating point: by number, or the best of those predicted to answer
        within `latency_ms` on average (the fastest where none is). Any other cost that was
        predicted can be a limit, by its name in metrics.py, such as `latency_p95_ms`; all must
        hold. Loads and forgets nothing; ends tracking.

        Raises ValueError for what is no point or cost, BundleError where no point predicts it.
        """
        points = self.manifest.points
        if latency_ms is not None:
            limits["latency_mean_ms"] = latency_ms
        if (point is None) == (not limits):
            raise ValueError("give either point or latency_ms (or another cost)")
        if point is not None and not 0 <= point < len(points):
            raise ValueError(f"0 <= point < {len(points)} must hold, got {point}")
        found = best_within(points, limits) if point is None else points[point]
        with self._lock:
            self._tracker = None
            self._move(found)
        return self

    def track(self, latency_ms: Optional[float]) -> Plan:
        """Hold a mean latency from now on while the load changes, by moving along the bundled
        operating points after every :meth:`classify` (tracking.py), which takes some microseconds
        on top of its latency. None ends it, and leaves the point in force.

        Raises ValueError unless `latency_ms` > 0, BundleError where no point predicts a latency.
        """
        tracker = None if latency_ms is None else Tracker(self.manifest.points, latency_ms)
        with self._lock:
            self._tracker = tracker
            if tracker is not None:
                self._move(tracker.point)
        return self

    @property
    def tracking(self) -> Optional[Tracking]:
        """How the budget is being held; None while none is."""
        tracker = self._tracker
        return None if tracker is None else tracker.state

    def classify(self, image: Union[ImageLike, Preprocessor], colour: str = "rgb") -> Answer:
        """The answer for one image: a path, the bytes or the open file of an image, a Pillow image
        or an array (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, its channels in the order of
        `colour` ('rgb', or 'bgr' as OpenCV's); or one that was prepared before, by this plan or
        another, and need not be resized again. Raises WorkloadError, which says what is taken.

        `latency_ms` runs from the decoded image to the answer, what is learned from it included,
        and not the time that other threads' images took before.
        """
        prepared = prepare(image, colour, self.manifest.largest_pixels)
        with self._lock:
            answer = self._answer(prepared, True)
            if self._tracker is not None:
                path = (answer.entry, answer.stage, answer.by, answer.tap)
                point = self._tracker.step(path, answer.latency_ms)
                if point is not self._point:
                    self._move(point)
        return answer

    def classify_all(self, images: Iterable[ImageLike], colour: str = "rgb") -> Iterator[Answer]:
        """The answers of :meth:`classify` for a list, a batch (N, H, W, 3) or a stream of images,
        one after the other."""
        return (self.classify(image, colour) for image in images)

    def rehearse(self, image: Union[ImageLike, Preprocessor], colour: str = "rgb") -> Answer:
        """As :meth:`classify`, but nothing is learned from the image."""
        prepared = prepare(image, colour, self.manifest.largest_pixels)
        with self._lock:
            return self._answer(prepared, False)

    def _answer(self, prepared: Preprocessor, learn: bool) -> Answer:
        rule, start = self.manifest.structure.rule, time.perf_counter_ns()
        found = run_plan(
            self._stages, rule, self._point, prepared, self.memory, self._router, learn
        )
        elapsed = (time.perf_counter_ns() - start) / 1e6
        return Answer(
            found.answer,
            found.confidence,
            found.stage,
            elapsed,
            found.probabilities,
            self.labels,
            ANSWERED_BY[found.by],
            None if found.tap == NEVER else found.tap,
            found.entry,
        )

    def golden_images(self) -> list[Any]:
        """The images of the self-test, uint8 (H, W, 3) each."""
        return golden_images(read_golden(self._folder))

    def selftest(self) -> list[str]:
        """Hash what is unpacked, and compare with the golden answers, which belong to the plan's
        own operating point and, if it remembers, to an empty memory. The list of what differs;
        empty when all is well. What is remembered stays as it was, and a budget that is held does
        not notice. What was damaged is unpacked again where the bundle is still there."""
        damaged = altered(self._folder, self.manifest.files)
        if damaged:
            mended = "damaged in the cache; it is mended now: load the plan again"
            if self._path is None or not os.path.isfile(self._path):
                mended = "damaged in the cache, and the bundle is gone"
            else:
                open_bundle(self._path)
            return [f"{name} is {mended}" for name in damaged]
        with self._lock:
            golden = read_golden(self._folder)
            return other_classes(golden, self.labels) + self._compare(golden)

    def _compare(self, golden: Golden) -> list[str]:
        in_force, memory = self._point, self.memory
        kept = memory.snapshot() if memory is not None else {}
        tracker, self._tracker = self._tracker, None
        try:
            self._move(self.manifest.points[self.manifest.point])
            problems = unlike(golden, self._stages, self.manifest.tolerance)
            if memory is None:
                return problems + other_answers(golden, self.classify)
            memory.reset()
            return problems + other_sequence(golden, self.classify)
        finally:
            self._tracker = tracker
            self._move(in_force)
            if memory is not None:
                memory.put_back(kept)

    def info(self) -> dict[str, Any]:
        """What the plan is, as plain data."""
        return describe(self.manifest, self._point)
