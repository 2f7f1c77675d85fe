"""Options, a guard and routers on plain arrays, for the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.guard import Guard
from trimtab.search.estimates.targets import Targets
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.problem import Problem
from trimtab.search.routing.design import LearnedScorer, RoutedDesign, TrainedRouter
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions, Stage

Array = np.ndarray[Any, np.dtype[Any]]

OPTIONS = RuntimeOptions("onnxruntime")
FORMATS = [InputFormat((side, side)) for side in (96, 224, 224)]
STAGE_MS = (1.0, 4.0, 12.0)
NOTHING: Array = np.zeros(0)


def stage_cost(number: int, milliseconds: float | None = None) -> StageCost:
    """A stage with some spread; beside another it is slower by a fifth."""
    generator = np.random.default_rng(number)
    took = STAGE_MS[number] if milliseconds is None else milliseconds
    samples = {
        f"{context}_{part}_ms": mean * slower * generator.gamma(40, 1 / 40, 160)
        for context, slower in (("hot", 1.0), ("beside", 1.2))
        for part, mean in (("resize", 0.5), ("tensor", 0.2), ("inference", took))
    }
    return StageCost(FORMATS[number], OPTIONS, {"load_ms": 5.0}, samples, 2.0)


def make_problem(
    inputs: int = 240, metrics: Sequence[str] = ("top1",), seed: int = 0, classes: int = 5
) -> Problem:
    """Three options, the dearer the better, of whose inputs the last two thirds are tune."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, inputs)
    options = []
    for number, skill in enumerate((1.0, 1.8, 3.0)):
        logits = skill * np.eye(classes)[labels] + generator.normal(0, 1, (inputs, classes))
        said = softmax(logits, axis=1).astype(np.float32)
        stage = Stage(str(number), OPTIONS)
        options.append(StageOption(f"model{number}", stage, stage_cost(number), said))
    tune = np.arange(inputs // 3, inputs)
    soft = options[2].probabilities[tune]
    guard = Guard(Targets(labels[tune], None, soft), soft)
    objectives = [Objective("top1"), Objective("latency_mean_ms")]
    return Problem(options, tune, guard, list(metrics), objectives)


def labels_of(problem: Problem) -> Array:
    """Labels (inputs,) of tune."""
    labels = problem.guard.targets.labels
    assert labels is not None
    return labels


def make_router(inputs: int, stages: int, seed: int = 0, published: bool = False) -> TrainedRouter:
    """Scores at random, the later stage the better on average; one-hot if published."""
    generator = np.random.default_rng(seed)
    scores = generator.random((inputs, stages)) + 0.3 * np.arange(stages)
    if published:
        scores = np.eye(stages)[scores.argmax(1)]
    return TrainedRouter("test", b"", scores.astype(np.float32), "tensor", published=published)


def lead(probabilities: Array) -> Array:
    """A scorer that is not the largest probability."""
    top = np.sort(probabilities, axis=1)
    return top[:, -1] - top[:, -2]


def make_design(
    options: tuple[int, ...],
    rule: str = "last",
    router: TrainedRouter | None = None,
    scored: bool = False,
) -> RoutedDesign:
    """A design over options of :func:`make_problem`."""
    scorer = LearnedScorer("test", b"", lead) if scored else None
    scorers = (*[scorer] * (len(options) - 1), None)
    return RoutedDesign(options, rule, router, scorers, tuple(STAGE_MS[o] for o in options))


def make_costs(design: RoutedDesign, router_ms: float = 0.3, taps: bool = False) -> RoutedCosts:
    """What it costs; with `taps` the first stage is in two segments."""
    chains = [StageSegments((c,), c.values, c.size_mb) for c in map(stage_cost, design.options)]
    if taps:
        parts = tuple(stage_cost(design.options[0], ms) for ms in (0.3, 0.7))
        chains[0] = StageSegments(parts, parts[0].values, 2.0)
    routed = design.router is not None
    return RoutedCosts(
        chains,
        np.full(160, router_ms) if routed else NOTHING,
        [np.full(160, 0.05) if scorer else NOTHING for scorer in design.scorers],
        routed,
        taps,
    )
