"""Pareto fronts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def non_dominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of `costs` (plans, objectives), all to be minimised, no other row dominates.

    Of equal rows the first stays. One sort, then O(plans) for two objectives and
    O(plans x front) for more.
    """
    order = np.lexsort(costs.T[::-1])
    if costs.shape[1] == 2 and len(costs):
        second = costs[order, 1]
        best_before = np.minimum.accumulate(np.append(np.inf, second[:-1]))
        found = np.zeros(len(costs), bool)
        found[order[second < best_before]] = True
        found[order[0]] = True  # even where its second value is infinite
        return found
    rest, kept = costs[order], []
    index = np.arange(len(costs))[order]
    while len(rest):
        kept.append(index[0])
        better = (rest < rest[0]).any(axis=1)
        rest, index = rest[better], index[better]
    mask = np.zeros(len(costs), bool)
    mask[kept] = True
    return mask


def spread(costs: NDArray[np.float64], count: int) -> list[int]:
    """At most `count` rows that span a front: the best of each objective, then always the row
    farthest from those chosen, in units of the front's extent (Gonzalez, 1985)."""
    if len(costs) <= count:
        return list(range(len(costs)))
    if count < 1:
        return []
    extent = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(axis=0)) / np.where(extent > 0, extent, 1.0)
    chosen = list(dict.fromkeys(int(i) for i in costs.argmin(axis=0)))[:count]
    distance = np.linalg.norm(scaled[:, None] - scaled[chosen], axis=2).min(axis=1)
    while len(chosen) < count and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
    return chosen
