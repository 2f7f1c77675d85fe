"""Routed plans whose stages may also answer inside: heads added to the best operating points.

Where inputs enter is decided as without heads, and so is where a stage hands on; a grid of
confidences says from where on a head answers. Every point is replayed exactly
(search/exits/design.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.exits.design import Early, TapChoice
from trimtab.search.objectives.pareto import non_dominated, spread
from trimtab.search.plans.problem import Problem
from trimtab.search.routing.design import Heads, RoutedDesign
from trimtab.search.routing.sweep import RoutedPoint
from trimtab_runtime.definitions.exits import ExitThresholds

#: Taps of a stage that get a head, the last ones: those before seldom know.
TAPS = 2
#: Confidences from which on heads answer.
_SURE = (0.5, 0.65, 0.8, 0.88, 0.94, 0.97, 0.99)
#: How many operating points without heads to start from, and how many results to keep.
_BASES, _KEPT = 10, 16


def with_heads(design: RoutedDesign, early: Early) -> RoutedDesign | None:
    """The design with heads at the last taps of its stages, as far as `early` knows them; None
    where it knows of none, and with scorers, which judge whole answers only."""
    if design.router is None or design.router.published or any(design.scorers):
        return None
    taps = tuple(
        _last(early, option, int(design.reads_tap and stage == 0))
        for stage, option in enumerate(design.options)
    )
    return replace(design, heads=Heads(early, taps)) if any(taps) else None


def _last(early: Early, option: int, first: int) -> tuple[TapChoice, ...]:
    tapped = early.tapped.get(option)
    if tapped is None:
        return ()
    known = [n for n in range(first, len(tapped.names)) if tapped.logits[n].size]
    return tuple((number, ("heads",)) for number in known[-TAPS:])


def headed_worths(
    problem: Problem, design: RoutedDesign, costs: RoutedCosts, bases: Sequence[RoutedPoint]
) -> list[RoutedPoint]:
    """The front on tune of a design with heads, around the operating points `bases` that it had
    without; the fastest first."""
    quality = problem.metrics[0]
    axes = np.array([[w.latency_mean_ms, -w.guarded[quality]] for w in bases])
    tried = [
        _worth(problem, design, costs, bases[number], sure)
        for number in spread(axes, _BASES)
        for sure in _SURE
    ]
    axes = np.array([[w.latency_mean_ms, -w.guarded[quality]] for w in tried])
    kept = np.flatnonzero(non_dominated(axes))
    kept = kept[spread(axes[kept], _KEPT)]
    return sorted((tried[n] for n in kept), key=lambda worth: worth.latency_mean_ms)


def _worth(
    problem: Problem, design: RoutedDesign, costs: RoutedCosts, base: RoutedPoint, sure: float
) -> RoutedPoint:
    exits = ExitThresholds(heads=sure)
    every = [option.probabilities for option in problem.options]
    found = design.replay(every, base.thresholds, base.price, problem.tune, exits)
    shares = design.path_shares(found)
    judged = {metric: problem.guard.of(metric, found.decided) for metric in problem.metrics}
    return RoutedPoint(
        design,
        base.thresholds,
        base.price,
        tuple(float(share) for share in shares),
        {metric: replayed for metric, (replayed, _) in judged.items()},
        {metric: guarded for metric, (_, guarded) in judged.items()},
        float(costs.mean_ms(shares[None])[0]),
        exits,
    )
