"""Exact threshold sweeps: every operating point of a structure at once, by counting.

With one threshold the inputs are sorted by confidence and values accumulate from both ends: all
n + 1 points, exactly. With two, confidences are ranked into at most `BINS` classes each, whose
edges are observed confidences; a table of sums over (rank 1, rank 2), accumulated along both
axes, gives every pair of edges exactly. O(n + points) instead of O(n x points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.quality import Floats, Targets
from trimtab_runtime.routing import combine, decide

Doubles = NDArray[np.float64]

#: Thresholds a stage can take in a sweep of three stages.
BINS = 48


@dataclass(frozen=True)
class Decisions:
    """What is decided on after each stage, on the inputs of one split.

    confidences: one (n,) a stage; values: for each metric one (n,) a stage, whose mean over
    inputs that stop there is the metric.
    """

    confidences: list[Floats]
    values: Mapping[str, list[Floats]]


@dataclass(frozen=True)
class Sweep:
    """Operating points of one structure: `thresholds` (points, stages - 1), `reach` (points,
    stages) share of inputs reaching each stage, `metrics` name -> (points,)."""

    thresholds: Doubles
    reach: Doubles
    metrics: Mapping[str, Doubles]


def decisions(
    probabilities: Sequence[Floats], rule: str, targets: Targets, metrics: Sequence[str]
) -> Decisions:
    """Run all stages on all inputs: `probabilities` one (n, classes) a stage. Values are those
    expected under the targets' soft labels, where they have some."""
    confidences: list[Floats] = []
    values: dict[str, list[Floats]] = {metric: [] for metric in metrics}
    total: Floats | None = None
    for stage, found in enumerate(probabilities):
        total = combine(total, found, stage, rule)
        confidences.append(decide(total)[1])
        for metric in metrics:
            values[metric].append(targets.expected(metric, total))
    return Decisions(confidences, values)


def edges(confidence: Doubles, limit: int | None = None) -> Doubles:
    """Thresholds between neighbouring confidences (midpoints), at most `limit`, ascending.

    The outermost are left out: there the structure is a smaller one.
    """
    distinct = np.unique(confidence)
    middles = (distinct[1:] + distinct[:-1]) / 2
    if limit is not None and len(middles) > limit:
        ranks = np.quantile(confidence, (np.arange(limit) + 0.5) / limit)
        found = np.unique(np.searchsorted(middles, ranks).clip(0, len(middles) - 1))
        middles = middles[found]
    return middles


def sweep(found: Decisions, bins: int = BINS) -> Sweep:
    """All operating points of a structure of one, two or three stages."""
    stages = len(found.confidences)
    if stages == 1:
        means = {name: np.array([float(v[0].mean())]) for name, v in found.values.items()}
        return Sweep(np.empty((1, 0)), np.ones((1, 1)), means)
    if stages == 2:
        return _sweep_one(found)
    return _sweep_two(found, bins)


def _sweep_one(found: Decisions) -> Sweep:
    confidence = found.confidences[0].astype(np.float64)
    thresholds = edges(confidence)
    order = np.argsort(confidence, kind="stable")
    passed = np.searchsorted(confidence[order], thresholds)  # inputs below each threshold
    count = len(confidence)
    metrics = {}
    for name, (first, second) in found.values.items():
        gain = np.concatenate([[0.0], np.cumsum((second - first)[order], dtype=np.float64)])
        metrics[name] = (float(first.sum(dtype=np.float64)) + gain[passed]) / count
    reach = np.stack([np.ones(len(thresholds)), passed / count], axis=1)
    return Sweep(thresholds[:, None], reach, metrics)


def _sweep_two(found: Decisions, bins: int) -> Sweep:
    one, two = (found.confidences[i].astype(np.float64) for i in (0, 1))
    count = len(one)
    first, second = edges(one, bins), edges(two, bins)
    # An input goes on from a stage where confidence < threshold: ranks count thresholds <= it.
    rank = np.searchsorted(first, one, side="right"), np.searchsorted(second, two, side="right")
    shape = (len(first) + 1, len(second) + 1)
    cell = np.ravel_multi_index(rank, shape)

    def below(weights: Floats | None = None) -> Doubles:
        table = np.bincount(cell, weights, minlength=shape[0] * shape[1]).reshape(shape)
        return np.asarray(table.cumsum(0).cumsum(1), np.float64)

    inner = below()
    to_second = np.repeat(inner[:-1, -1:], len(second), axis=1)
    to_third = inner[:-1, :-1]
    metrics = {}
    for name, (a, b, c) in found.values.items():
        at_second = below(b - a)[:-1, -1:]
        at_third = below(c - b)[:-1, :-1]
        total = float(a.sum(dtype=np.float64)) + at_second + at_third
        metrics[name] = (total / count).ravel()
    reach = np.stack(
        [np.ones(to_third.size), to_second.ravel() / count, to_third.ravel() / count], axis=1
    )
    pairs = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    return Sweep(pairs, reach, metrics)
