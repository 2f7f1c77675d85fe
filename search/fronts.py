"""Pareto fronts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def non_dominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of `costs` (plans, objectives), all to be minimised, no other row dominates.

    Of equal rows the first stays. O(plans x front) after one sort.
    """
    order = np.lexsort(costs.T[::-1])
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
    extent = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(axis=0)) / np.where(extent > 0, extent, 1.0)
    chosen = list(dict.fromkeys(int(i) for i in costs.argmin(axis=0)))[:count]
    while len(chosen) < count:
        distance = np.linalg.norm(scaled[:, None] - scaled[chosen], axis=2).min(axis=1)
        chosen.append(int(distance.argmax()))
    return chosen
