"""Exact sweeps of routed plans over price and thresholds.

A price decides where inputs enter; between two prices at which some input changes its entry
nothing changes. For each price that is tried, thresholds are swept as those of any cascade
(sweep.py): an input that enters later passes the stages before for certain, and shares of paths
are means of indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.search.costs.routed import Path, RoutedCosts
from trimtab.search.estimates.guard import Estimates
from trimtab.search.estimates.metrics import linearised
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.objectives.pareto import non_dominated, spread
from trimtab.search.plans.cascades import PER_STRUCTURE, WITH_PERCENTILES
from trimtab.search.plans.problem import Problem
from trimtab.search.plans.threshold_sweep import Decision, edges, sweep
from trimtab.search.replay.cascade import confidence_of, replay
from trimtab.search.routing.design import RoutedDesign, TrainedRouter
from trimtab_runtime.definitions.exits import NO_THRESHOLDS, ExitThresholds
from trimtab_runtime.plans.routing import combine

Doubles = NDArray[np.float64]

#: Prices and, of three stages, thresholds of each that are tried.
PRICES, BINS = 24, 12


@dataclass(frozen=True)
class RoutedPoint:
    """A design at one operating point, on tune: quality as replayed, and as conservatively
    estimated (`guarded`)."""

    design: RoutedDesign
    thresholds: tuple[float, ...]
    price: float
    paths: tuple[float, ...]
    replayed: dict[str, float]
    guarded: dict[str, float]
    latency_mean_ms: float
    exits: ExitThresholds = NO_THRESHOLDS

    @property
    def reach(self) -> tuple[float, ...]:
        """Share of inputs that run each stage."""
        told = list(zip(self.design.paths, self.paths, strict=True))
        return tuple(
            sum(share for (entry, stop, _), share in told if entry <= stage <= stop)
            for stage in range(len(self.design.options))
        )


def prices(router: TrainedRouter, costs_ms: Sequence[float], rows: Ints, most: int) -> list[float]:
    """Prices at which the router sends these inputs different ways: one between any two at which
    an input's best of two stages changes, at most so many, spread evenly over inputs; 0 first."""
    if router.published:
        return [0.0]
    scores, costs = router.scores[rows].astype(np.float64), np.asarray(costs_ms)
    cheap, dear = np.nonzero(costs[:, None] < costs[None])
    gains = (scores[:, dear] - scores[:, cheap]) / (costs[dear] - costs[cheap])
    changes = gains[gains > 0]
    if not len(changes):
        return [0.0]
    return [0.0, *(float(f"{price:.6g}") for price in edges(changes, most - 1))]


def best_designs(
    worths: Sequence[RoutedPoint], quality: str, least: float, count: int
) -> list[RoutedDesign]:
    """The designs worth building, `count` at most: of each kind the fastest one whose quality,
    conservatively estimated, is `least` or better, or comes nearest; then those of the fastest
    points, and of those that span the front."""
    axes = np.array([[w.latency_mean_ms, -w.guarded[quality]] for w in worths]).reshape(-1, 2)
    by_need = np.lexsort((axes[:, 0], np.maximum(axes[:, 1], -least)))
    first = {worths[i].design.kind: i for i in reversed(by_need)}
    good = [i for i in np.argsort(axes[:, 0]) if worths[i].guarded[quality] >= least]
    ahead = np.flatnonzero(non_dominated(axes))
    spanning = [ahead[i] for i in spread(axes[ahead], count)]
    order = [*sorted(first.values(), key=list(by_need).index), *good, *spanning]
    return list(dict.fromkeys(worths[i].design for i in order))[:count]


class RoutedSweep:
    """Sweeps one design; what its operating points have in common is decided once. `at_once`:
    whichever stage an input enters answers it."""

    def __init__(
        self, problem: Problem, design: RoutedDesign, costs: RoutedCosts, at_once: bool = False
    ) -> None:
        self._problem, self._design, self._costs = problem, design, costs
        self._rows = [problem.options[i].probabilities[problem.tune] for i in design.options]
        self._known: dict[tuple[int, int], Decision] = {}
        published = design.router is not None and design.router.published
        self._at_once = at_once or published or len(design.options) > 3

    def worths(self, count: int | None = None) -> list[RoutedPoint]:
        """The design's own front on tune, thinned to a number of operating points; the fastest
        first."""
        problem, design = self._problem, self._design
        router = design.router
        asked = [0.0] if router is None else prices(router, design.costs_ms, problem.tune, PRICES)
        swept = [(price, self._points(price)) for price in asked]
        thresholds = np.concatenate([found[0] for _, found in swept])
        price = np.repeat([price for price, _ in swept], [len(found[0]) for _, found in swept])
        reach = np.concatenate([found[1] for _, found in swept])
        means = [np.concatenate(parts) for parts in zip(*(f[2] for _, f in swept), strict=True)]
        quality = {
            metric: problem.guard.estimate(metric, means[4 * i : 4 * i + 4])
            for i, metric in enumerate(problem.metrics)
        }
        latency = self._costs.mean_ms(reach)
        axes = np.stack([latency, *(-quality[m].guarded for m in problem.metrics)], axis=1)
        kept = np.flatnonzero(non_dominated(axes))
        if count is None:
            count = WITH_PERCENTILES if problem.percentiles else PER_STRUCTURE
        kept = kept[spread(axes[kept], count)]
        quality = self._exact(quality, kept, thresholds, price)
        found = [
            RoutedPoint(
                design,
                tuple(float(t) for t in thresholds[point]),
                float(price[point]),
                tuple(float(share) for share in reach[point]),
                {metric: float(quality[metric].replayed[point]) for metric in problem.metrics},
                {metric: float(quality[metric].guarded[point]) for metric in problem.metrics},
                float(latency[point]),
            )
            for point in kept
        ]
        return sorted(found, key=lambda worth: worth.latency_mean_ms)

    def _points(self, price: float) -> tuple[Doubles, Doubles, list[Doubles]]:
        """Thresholds (points, stages - 1), shares of paths (points, paths) and means of values
        (points,) at one price."""
        design, count = self._design, len(self._rows)
        router = design.router
        where = design.entry(self._problem.tune, price)
        told = design.paths
        stages = [self._stage(position, where, told) for position in range(count)]
        if self._at_once:
            return self._answered_at_once(stages, where)
        limit = BINS if count > 2 else None
        lowest = [] if router is None else [0.0]
        chosen = []
        for stage in stages[:-1]:
            own = edges(stage.confidence[stage.confidence >= 0].astype(np.float64), limit)
            chosen.append(np.array([*lowest, *own]))
        found = sweep(stages, thresholds=chosen)
        return self._split(found.thresholds, list(found.means))

    def _answered_at_once(
        self, stages: Sequence[Decision], where: Ints
    ) -> tuple[Doubles, Doubles, list[Doubles]]:
        """One point: every input is answered where it enters."""
        place: Ints = np.arange(len(where))
        columns = zip(*(stage.values for stage in stages), strict=True)
        own = (np.stack(column)[where, place] for column in columns)
        means = [np.array([float(values.mean(dtype=np.float64))]) for values in own]
        return self._split(np.zeros((1, len(stages) - 1)), means)

    def _split(
        self, thresholds: Doubles, means: list[Doubles]
    ) -> tuple[Doubles, Doubles, list[Doubles]]:
        """The last of the means are shares of paths."""
        moments = 4 * len(self._problem.metrics)
        return thresholds, np.stack(means[moments:], axis=1), means[:moments]

    def _stage(self, position: int, where: Ints, told: Sequence[Path]) -> Decision:
        """What would be decided at a stage if inputs stopped there: those that enter later pass it
        for certain (confidence -1), and have no values."""
        count = 4 * len(self._problem.metrics)
        confidence = np.full(len(where), -1.0, np.float32)
        values = [np.zeros(len(where), np.float32) for _ in range(count)]
        for entry in np.unique(where[where <= position]):
            rows, known = where == entry, self._decided(int(entry), position)
            confidence[rows] = known.confidence[rows]
            for value, own in zip(values, known.values, strict=True):
                value[rows] = own[rows]
        for entry, stop, _ in told:
            values.append((stop == position) * (where == entry).astype(np.float32))
        return Decision(confidence, values)

    def _decided(self, entry: int, position: int) -> Decision:
        """What inputs that enter at a stage decide at another."""
        key = (entry, position) if self._design.rule == "mean" else (position, position)
        if key not in self._known:
            total: Floats | None = None
            for number, found in enumerate(self._rows[key[0] : position + 1]):
                total = combine(total, found, number, self._design.rule)
            assert total is not None
            guard = self._problem.guard
            values = [v for m in self._problem.metrics for v in guard.moments(m, total)]
            scorer = self._design.scoring[position]
            self._known[key] = Decision(confidence_of(total, scorer), values)
        return self._known[key]

    def _exact(
        self,
        quality: dict[str, Estimates],
        kept: NDArray[np.intp],
        thresholds: Doubles,
        price: Doubles,
    ) -> dict[str, Estimates]:
        """Estimates of linearised metrics made exact at the points that are kept."""
        wanted = linearised(quality)
        if not wanted or not len(kept):
            return quality
        rows = self._problem.tune
        answers = np.stack(
            [
                replay(
                    self._rows,
                    self._design.rule,
                    thresholds[point],
                    self._design.entry(rows, float(price[point])),
                    self._design.scoring,
                ).answer
                for point in kept
            ]
        )
        guard = self._problem.guard
        exact = {m: guard.exact_at(m, quality[m], kept, answers) for m in wanted}
        return {**quality, **exact}
