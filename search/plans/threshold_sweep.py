"""Exact threshold sweeps: every operating point of a structure at once, by counting.

With one threshold the inputs are sorted by confidence and values accumulate from both ends: all
n - 1 points, exactly. With two, confidences are ranked into at most `BINS` classes each, whose
edges lie between observed confidences; a table of sums over (rank 1, rank 2), accumulated along
both axes, gives every pair of edges exactly. O(n + points) instead of O(n x points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.targets import Floats, Ints

Doubles = NDArray[np.float64]

#: Thresholds a stage can take in a sweep of three stages.
BINS = 48


@dataclass(frozen=True)
class Decision:
    """What would be answered if every input stopped at some stage: `confidence` (n,), and values
    (n,) of each input whose means over the inputs are wanted."""

    confidence: Floats
    values: Sequence[Floats]


@dataclass(frozen=True)
class Sweep:
    """Operating points of one structure: `thresholds` (points, stages - 1), `reach` (points,
    stages) share of inputs reaching each stage, `means` one (points,) for each value."""

    thresholds: Doubles
    reach: Doubles
    means: Sequence[Doubles]


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


def stopping(confidence: Sequence[Floats], thresholds: Sequence[float]) -> Ints:
    """The stage (n,) that answers each input: the first one whose confidence, (n,) a stage, is
    at least its threshold; else the last."""
    stage: Ints = np.full(len(confidence[0]), len(confidence) - 1, np.int64)
    for position in reversed(range(len(confidence) - 1)):
        stage[confidence[position].astype(np.float64) >= thresholds[position]] = position
    return stage


def sweep(
    stages: Sequence[Decision], bins: int = BINS, thresholds: Sequence[Doubles] | None = None
) -> Sweep:
    """All operating points of a structure of one, two or three stages; or those where each stage
    but the last takes any of its `thresholds`, ascending."""
    if len(stages) == 1:
        means = [np.array([value.mean(dtype=np.float64)]) for value in stages[0].values]
        return Sweep(np.empty((1, 0)), np.ones((1, 1)), means)
    if len(stages) == 2:
        return _sweep_one(stages[0], stages[1], thresholds)
    return _sweep_two(stages[0], stages[1], stages[2], bins, thresholds)


def _sweep_one(first: Decision, second: Decision, chosen: Sequence[Doubles] | None) -> Sweep:
    confidence = first.confidence.astype(np.float64)
    thresholds = edges(confidence) if chosen is None else chosen[0]
    order = np.argsort(confidence, kind="stable")
    passed = np.searchsorted(confidence[order], thresholds)  # inputs below each threshold
    count = len(confidence)
    means = []
    for early, late in zip(first.values, second.values, strict=True):
        gain = np.concatenate([[0.0], np.cumsum((late - early)[order], dtype=np.float64)])
        means.append((early.sum(dtype=np.float64) + gain[passed]) / count)
    reach = np.stack([np.ones(len(thresholds)), passed / count], axis=1)
    return Sweep(thresholds[:, None], reach, means)


def _sweep_two(
    one: Decision, two: Decision, three: Decision, bins: int, chosen: Sequence[Doubles] | None
) -> Sweep:
    confidence = [stage.confidence.astype(np.float64) for stage in (one, two)]
    first, second = chosen or (edges(values, bins) for values in confidence)
    # An input goes on from a stage where confidence < threshold: ranks count thresholds <= it.
    ranks = [
        np.searchsorted(at, values, side="right")
        for at, values in zip((first, second), confidence, strict=True)
    ]
    shape = (len(first) + 1, len(second) + 1)
    cell, count = np.ravel_multi_index((ranks[0], ranks[1]), shape), len(confidence[0])

    def below(weights: Floats | None = None) -> Doubles:
        table = np.bincount(cell, weights, minlength=shape[0] * shape[1]).reshape(shape)
        return np.asarray(table.cumsum(0).cumsum(1), np.float64)

    inputs = below()
    to_second = np.repeat(inputs[:-1, -1:], len(second), axis=1)
    to_third = inputs[:-1, :-1]
    means = []
    for a, b, c in zip(one.values, two.values, three.values, strict=True):
        total = a.sum(dtype=np.float64) + below(b - a)[:-1, -1:] + below(c - b)[:-1, :-1]
        means.append((total / count).ravel())
    reach = np.stack(
        [np.ones(to_third.size), to_second.ravel() / count, to_third.ravel() / count], axis=1
    )
    pairs = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    return Sweep(pairs, reach, means)
