"""A plan that runs: engines loaded, one image in, one answer out."""

from __future__ import annotations

import math
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from trimtab_runtime.bundle import open_bundle
from trimtab_runtime.definition import OperatingPoint, Stage, Variant
from trimtab_runtime.engines import Engine, create_engine
from trimtab_runtime.errors import BundleError, InferenceError
from trimtab_runtime.manifest import GOLDEN_NAME, MODELS_FOLDER, Manifest
from trimtab_runtime.preprocess import ImageLike, Preprocessor
from trimtab_runtime.routing import calibrated, combine, decide


@dataclass(frozen=True)
class Answer:
    """What a plan says of one image. `stage` (from 0) is where it stopped, `probabilities`
    (classes,) what it decided on."""

    index: int
    confidence: float
    stage: int
    latency_ms: float
    probabilities: Any = field(repr=False, compare=False)
    labels: Sequence[str] = field(repr=False, compare=False)

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
            "latency_ms": self.latency_ms,
            "top": self.top,
        }


def name_of(labels: Sequence[str], index: int) -> str:
    """A class's name; its number where it has none."""
    return labels[index] if index < len(labels) else str(index)


class LoadedStage:
    """An engine with its calibration: an image in, outputs and probabilities out."""

    def __init__(self, engine: Engine, stage: Stage) -> None:
        self.engine = engine
        self.variant: Variant = engine.variant
        self._temperature = stage.temperature

    def outputs(self, image: Preprocessor) -> np.ndarray[Any, Any]:
        """Outputs (classes,) as the model gives them."""
        return self.engine.run(image.tensor(self.variant.input))

    def probabilities(self, outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = calibrated(outputs, self.variant.output, self._temperature)
        return found


class Plan:
    """A loaded plan. Use one from one thread at a time.

    `Plan.load("plan.pyz").classify(image)` is the whole use; :meth:`use` moves along the bundled
    operating points without loading anything again.
    """

    def __init__(self, manifest: Manifest, stages: Sequence[LoadedStage], folder: Path) -> None:
        self.manifest = manifest
        self.labels = manifest.labels
        self._stages = list(stages)
        self._folder = folder
        self._point = manifest.points[manifest.point]

    @classmethod
    def load(cls, path: str) -> Plan:
        """Check and unpack the bundle at `path`, and load its engines.

        Raises BundleError, EngineError (an engine is not installed) or ModelError.
        """
        manifest, folder = open_bundle(str(path))
        variants = {variant.sha256: variant for variant in manifest.variants}
        stages = []
        for stage in manifest.structure.stages:
            variant = variants[stage.variant]
            file = folder / MODELS_FOLDER / variant.file_name
            stages.append(LoadedStage(create_engine(str(file), variant, stage.options), stage))
        return cls(manifest, stages, folder)

    @property
    def point(self) -> OperatingPoint:
        """The operating point in force."""
        return self._point

    def use(self, point: Optional[int] = None, latency_ms: Optional[float] = None) -> Plan:
        """Move to a bundled operating point: by number, or the best of those predicted to answer
        within `latency_ms` on average (the fastest where none is). Loads nothing."""
        points = self.manifest.points
        if (point is None) == (latency_ms is None):
            raise ValueError("give either point or latency_ms")
        if point is not None:
            if not 0 <= point < len(points):
                raise ValueError(f"0 <= point < {len(points)} must hold, got {point}")
            self._point = points[point]
            return self
        known = [p for p in points if "latency_mean_ms" in p.metrics]
        if not known:
            raise BundleError("the bundled operating points carry no latency")
        within = [p for p in known if p.metrics["latency_mean_ms"] <= float(latency_ms or 0)]
        cheapest = min(known, key=lambda p: p.metrics["latency_mean_ms"])
        self._point = max(within, key=lambda p: p.metrics["latency_mean_ms"], default=cheapest)
        return self

    def classify(self, image: Union[ImageLike, Preprocessor]) -> Answer:
        """The answer for one image: a path, a Pillow image or a uint8 array (H, W, 3); or one
        that was prepared before, by this plan or another, and need not be resized again.

        `latency_ms` runs from the decoded image to the answer.
        """
        prepared = image if isinstance(image, Preprocessor) else Preprocessor(image)
        start = time.perf_counter_ns()
        probabilities, index, confidence, stage = self._run(prepared)
        elapsed = (time.perf_counter_ns() - start) / 1e6
        return Answer(index, confidence, stage, elapsed, probabilities, self.labels)

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
        archive = self._golden()
        return [archive[f"image_{case}"] for case in range(int(archive["cases"]))]

    def _golden(self) -> dict[str, Any]:
        try:
            with np.load(str(self._folder / GOLDEN_NAME), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"{GOLDEN_NAME} cannot be read ({error})") from None

    def selftest(self) -> list[str]:
        """Compare with the golden answers, which belong to the plan's own operating point. The
        list of what differs; empty when all is well."""
        in_force, self._point = self._point, self.manifest.points[self.manifest.point]
        try:
            return self._differences()
        except KeyError as error:
            raise BundleError(f"{GOLDEN_NAME} has no array {error}") from None
        finally:
            self._point = in_force

    def _differences(self) -> list[str]:
        archive, problems = self._golden(), []
        for case in range(int(archive["cases"])):
            image = Preprocessor(archive[f"image_{case}"])
            for position, stage in enumerate(self._stages):
                expected, found = archive[f"outputs_{case}_{position}"], stage.outputs(image)
                scale = max(float(np.abs(expected).max()), 1e-6)
                error = float(np.abs(found - expected).max()) / scale
                if not error <= self.manifest.tolerance:
                    problems.append(
                        f"image {case}, {stage.variant.name}: outputs differ by {error:.2g}, "
                        f"allowed {self.manifest.tolerance:.2g}"
                    )
            answer = self.classify(archive[f"image_{case}"])
            got = (answer.index, answer.stage)
            wanted = tuple(int(value) for value in archive[f"answer_{case}"])
            if got != wanted:
                problems.append(f"image {case}: (answer, stage) {wanted} expected, got {got}")
        return problems

    def info(self) -> dict[str, Any]:
        """What the plan is, as plain data."""
        manifest = self.manifest
        names = {variant.sha256: variant.name for variant in manifest.variants}
        return {
            "name": manifest.name,
            "protocol": manifest.protocol,
            "route": manifest.structure.route,
            "rule": manifest.structure.rule,
            "stages": [
                {
                    "variant": names[stage.variant],
                    "engine": stage.options.engine,
                    "threads": stage.options.threads,
                }
                for stage in manifest.structure.stages
            ],
            "thresholds": list(self._point.thresholds),
            "predicted": dict(self._point.metrics),
            "points": len(manifest.points),
            "classes": len(manifest.labels),
            "requires": list(manifest.requires),
            "planned_on": dict(manifest.device),
        }
