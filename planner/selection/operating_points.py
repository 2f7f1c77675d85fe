"""The operating points of a bundle: the front of its structure by conservative estimates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.objectives.pareto import non_dominated, spread
from trimtab_runtime.definitions.plan import OperatingPoint

#: Operating points that one bundle carries at most.
POINTS = 16
_LATENCY = "latency_mean_ms"


def family(
    plans: Iterable[PlanCandidate], own: PlanCandidate, quality: str, count: int = POINTS
) -> tuple[OperatingPoint, ...]:
    """The operating points to bundle with `own`: those of `plans` that share its structure, each
    with what decided on tune, :func:`thinned` to `count`. What bundles taught of `own` holds for
    its whole family."""
    siblings = [p for p in plans if p.definition.structure == own.definition.structure]
    points = [operating_point(replace(plan, factors=own.factors)) for plan in siblings]
    return thinned(points, operating_point(own), quality, count)


def operating_point(plan: PlanCandidate) -> OperatingPoint:
    """The numbers of a plan, with its conservatively estimated quality and predicted costs."""
    found = plan.definition
    return OperatingPoint(found.thresholds, plan.values, found.exits, found.price)


def thinned(
    points: Sequence[OperatingPoint], own: OperatingPoint, quality: str, count: int = POINTS
) -> tuple[OperatingPoint, ...]:
    """At most `count` of one structure's points that no other beats in predicted mean latency and
    in `quality`, the fastest first: of any two the slower one is the better one.

    `own` is always among them, and what beats it is not; the rest span the front, evenly in the
    logarithm of latency and in quality.
    """
    if not _known(own, quality):
        return (own,)
    most, least = own.metrics[_LATENCY], own.metrics[quality]
    every = [own]
    for point in points:
        if _known(point, quality):
            beats = point.metrics[_LATENCY] <= most and point.metrics[quality] >= least
            every += [] if beats else [point]
    axes = np.array([[np.log(p.metrics[_LATENCY]), -p.metrics[quality]] for p in every])
    rest = np.flatnonzero(non_dominated(axes))[1:]  # the first is `own`, which nothing beats
    kept = [0, *(rest[index] for index in spread(axes[rest], count - 1))]
    return tuple(every[index] for index in sorted(kept, key=lambda index: float(axes[index, 0])))


def _known(point: OperatingPoint, quality: str) -> bool:
    return {_LATENCY, quality} <= point.metrics.keys()
