"""Plans with routers and scorers, and what they must answer, computed without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sample_models import texture_images

from trimtab.planner.bundles.archive import BundleParts
from trimtab_runtime import Plan
from trimtab_runtime.definitions.exits import NO_THRESHOLDS
from trimtab_runtime.definitions.plan import (
    InputFormat,
    OperatingPoint,
    PlanDefinition,
    Stage,
    Structure,
)
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.engines import create_engine
from trimtab_runtime.images.features import image_features
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.routing import calibrated

Array = np.ndarray[Any, np.dtype[Any]]
NAMES = ("contrast", "brightness", "keypoints")
LABELS = ["north", "north-east", "east", "south-east"]
TENSOR = InputFormat((12, 12), std=(255.0,))


def pictures(count: int, seed: int = 11) -> list[Array]:
    """uint8 (44, 44, 3) of many contrasts and brightnesses."""
    sharp, _ = texture_images(count, seed=seed, size=44)
    random = np.random.default_rng(seed)
    gains, lifts = random.uniform(0.1, 1.0, count), random.uniform(0, 120, count)
    return [
        np.clip(image * gain + lift, 0, 255).astype(np.uint8)
        for image, gain, lift in zip(sharp, gains, lifts, strict=True)
    ]


def split(features: Array) -> tuple[Array, Array]:
    """Weight (3, n) and bias (3,) of a linear router that sends about a third of these features
    (images, n) to each of three stages, by the first of them."""
    first = features[:, 0] / features[:, 0].std()
    low, high = np.quantile(first, [1 / 3, 2 / 3])
    slopes = np.array([0.0, 1.0, 2.0])
    weight = np.zeros((3, features.shape[1]))
    weight[:, 0] = slopes / features[:, 0].std()
    return weight, np.array([0.0, -low, -low - high])


@dataclass(frozen=True)
class Routed:
    """A plan with what its router sees of images, computed without it."""

    parts: BundleParts
    weight: Array
    bias: Array

    def scores(self, features: Array) -> Array:
        return features @ self.weight.T.astype(np.float32) + self.bias.astype(np.float32)


def parts_of(
    stages: Sequence[Stage],
    members: Mapping[str, Any],
    files: Mapping[str, Path],
    photos: Sequence[Path],
    router: Router | None,
    thresholds: Sequence[float],
    rule: str = "last",
    **more: Any,
) -> BundleParts:
    route = "premodel" if router else "cascade"
    structure = Structure(route, tuple(stages), rule, router=router)
    exits, price = more.get("exits", NO_THRESHOLDS), more.get("price", 0.0)
    own = OperatingPoint(tuple(thresholds), {"latency_mean_ms": 2.0}, exits, price)
    return BundleParts(
        name="routed",
        definition=PlanDefinition(structure, tuple(thresholds), exits, price),
        points=[own, *more.get("points", ())],
        variants={m.variant.sha256: m.variant for m in members.values()},
        models={m.variant.sha256: m.path for m in members.values()},
        labels=LABELS,
        images=photos[:24],
        fingerprint={"machine": "test", "onnxruntime": "1", "litert": "2"},
        files=files,
    )


def features_of(kind: str, images: Sequence[Array]) -> Array:
    if kind == "image":
        return np.stack([image_features(image, NAMES) for image in images])
    tensors = np.concatenate([Preprocessor(image).tensor(TENSOR) for image in images])
    return tensors.mean(axis=(2, 3))


def probabilities_of(parts: BundleParts, images: Sequence[Array]) -> list[Array]:
    """(images, classes) of every stage."""
    found = []
    for stage in parts.definition.structure.stages:
        variant = parts.variants[stage.variant]
        engine = create_engine(str(parts.models[stage.variant]), variant, stage.options)
        outputs = [engine.run(Preprocessor(image).tensor(variant.input)) for image in images]
        found.append(calibrated(np.stack(outputs), variant.output, stage.temperature))
    return found


def replayed(
    parts: BundleParts, said: Sequence[Array], entry: Array, point: OperatingPoint
) -> list[tuple[int, int, int]]:
    """(answer, stage, entry) of every image, in words of the issue."""
    found, structure = [], parts.definition.structure
    for row, first in enumerate(entry):
        ran: list[Array] = []
        for stage in range(first, len(said)):
            ran.append(said[stage][row])
            decided = np.mean(ran, axis=0) if structure.rule == "mean" else ran[-1]
            second, largest = np.sort(decided)[-2:]
            scored = structure.stages[stage].scorer is not None
            confidence = largest - second if scored else largest
            if stage == len(said) - 1 or confidence >= point.thresholds[stage]:
                break
        found.append((int(decided.argmax()), stage, int(first)))
    return found


def told(plan: Plan, images: Sequence[Array]) -> list[tuple[int, int, int]]:
    answers = [plan.classify(image) for image in images]
    return [(answer.index, answer.stage, answer.entry) for answer in answers]
