"""Composes cascades of measured and traced stages.

Every single stage and every cascade of two or three is swept over all its operating points. All
structures are enumerated where that is affordable; where not, Optuna's NSGA-II proposes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from trimtab.search.estimates.guard import Estimates
from trimtab.search.estimates.metrics import linearised
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.objectives.objective import Objective
from trimtab.search.objectives.pareto import non_dominated, spread
from trimtab.search.plans.design import CascadeDesign
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.plans.problem import Problem
from trimtab.search.plans.threshold_sweep import Decision, stopping, sweep
from trimtab_runtime.definitions.plan import RULES
from trimtab_runtime.plans.routing import combine, decide

#: Structures that are all swept; above, so many are proposed by Optuna.
AFFORDABLE = 4000
#: Operating points that a structure may bring to the common front; the smaller number where
#: percentiles, which cost more, are asked for.
PER_STRUCTURE, WITH_PERCENTILES = 64, 24


def compose(problem: Problem, seed: int = 0, affordable: int = AFFORDABLE) -> list[ComposedPlan]:
    """All plans that are on the front of their own structure, single stages first.

    Where there are more than `affordable` structures, so many are proposed by NSGA-II.
    """
    sweeps = Sweeps(problem)
    plans = [plan for index in range(len(problem.options)) for plan in sweeps.plans((index,))]
    structures = list(itertools.islice(_structures(problem), affordable + 1))
    if len(structures) > affordable:
        return plans + _sampled(problem, sweeps, seed, affordable)
    for stages, rule in structures:
        plans += sweeps.plans(stages, rule)
    return plans


def front(plans: Sequence[ComposedPlan], objectives: Sequence[Objective]) -> list[ComposedPlan]:
    """Plans that none of `plans` dominates; those with an unknown objective are left out."""
    known = [plan for plan in plans if all(o.metric in plan.values for o in objectives)]
    if not known:
        return []
    kept = non_dominated(_costs(known, objectives))
    return [plan for plan, keep in zip(known, kept, strict=True) if keep]


def _costs(plans: Sequence[ComposedPlan], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    rows = [[o.cost(plan.values[o.metric]) for o in objectives] for plan in plans]
    return np.array(rows, np.float64).reshape(len(plans), len(objectives))


def _cascade_order(problem: Problem) -> list[int]:
    """Options that may stand in a cascade, the fastest first."""
    allowed = [i for i, option in enumerate(problem.options) if not option.alone]
    return sorted(allowed, key=lambda i: float(problem.options[i].cost.total("beside").mean()))


def _structures(problem: Problem) -> Iterator[tuple[tuple[int, ...], str]]:
    if problem.together is not None:
        cascades = (stages for stages in problem.together if len(stages) > 1)
        yield from itertools.product(cascades, RULES)
        return
    order = _cascade_order(problem)
    for count in range(2, problem.max_stages + 1):
        yield from itertools.product(itertools.combinations(order, count), RULES)


@dataclass(frozen=True)
class Points:
    """Operating points of one structure, (points,) each but `thresholds` and `reach`: estimates
    of every quality metric, and predicted mean latency."""

    thresholds: NDArray[np.float64]
    reach: NDArray[np.float64]
    quality: dict[str, Estimates]
    latency_mean_ms: NDArray[np.float64]


class Sweeps:
    """Sweeps structures; what structures have in common is decided once."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rows = [option.probabilities[problem.tune] for option in problem.options]
        self._known: dict[tuple[int, ...], Decision] = {}
        self._answers: dict[tuple[int, ...], Ints] = {}
        self._points = WITH_PERCENTILES if problem.percentiles else PER_STRUCTURE

    def points(
        self,
        stages: tuple[int, ...],
        rule: str = "last",
        thresholds: Sequence[NDArray[np.float64]] | None = None,
    ) -> Points:
        """The structure's operating points: all, or those that `thresholds` give (sweep.py)."""
        problem = self._problem
        decisions = [
            self._decision((stage,) if rule == "last" else stages[: position + 1])
            for position, stage in enumerate(stages)
        ]
        found = sweep(decisions, thresholds=thresholds)
        quality = {
            metric: problem.guard.estimate(metric, found.means[4 * i : 4 * i + 4])
            for i, metric in enumerate(problem.metrics)
        }
        means = problem.path_costs(stages).mean_ms(found.reach)
        return Points(found.thresholds, found.reach, quality, means)

    def plans(self, stages: tuple[int, ...], rule: str = "last") -> list[ComposedPlan]:
        """The structure's own front, thinned to a number of operating points."""
        problem, found = self._problem, self.points(stages, rule)
        if not len(found.thresholds):
            return []
        # Within a structure latency is what varies; its percentiles rise with its mean.
        quality = [-found.quality[metric].guarded for metric in problem.metrics]
        axes = np.stack([found.latency_mean_ms, *quality], axis=1)
        kept = np.flatnonzero(non_dominated(axes))
        kept = kept[spread(axes[kept], self._points)]
        return self._plans(stages, rule, found, np.sort(kept))

    def at(
        self, stages: tuple[int, ...], rule: str, thresholds: Sequence[Sequence[float]]
    ) -> list[ComposedPlan]:
        """The structure's plans at `thresholds` (plans, stages - 1), in this order."""
        columns = np.array(thresholds, np.float64).reshape(len(thresholds), len(stages) - 1).T
        if not len(columns):
            kept = np.zeros(len(thresholds), np.intp)
            return self._plans(stages, rule, self.points(stages, rule), kept)
        grid = [np.unique(column) for column in columns]
        places = [np.searchsorted(g, column) for g, column in zip(grid, columns, strict=True)]
        kept = np.ravel_multi_index(tuple(places), tuple(len(g) for g in grid))
        return self._plans(stages, rule, self.points(stages, rule, grid), kept)

    def _plans(
        self, stages: tuple[int, ...], rule: str, found: Points, kept: NDArray[np.intp]
    ) -> list[ComposedPlan]:
        """The plans at the operating points `kept` of those `found`."""
        problem, quality = self._problem, dict(found.quality)
        costs = problem.path_costs(stages)
        averages = costs.averages(found.reach)
        for metric in linearised(quality):
            answers = self._answered(stages, rule, found.thresholds[kept])
            quality[metric] = problem.guard.exact_at(metric, quality[metric], kept, answers)
        fixed = costs.fixed()
        design = CascadeDesign([problem.options[index] for index in stages], rule, costs)
        return [
            ComposedPlan(
                stages,
                rule,
                tuple(float(t) for t in found.thresholds[point]),
                tuple(float(r) for r in found.reach[point]),
                {metric: float(quality[metric].replayed[point]) for metric in problem.metrics},
                {metric: float(quality[metric].guarded[point]) for metric in problem.metrics},
                {
                    **{metric: float(value[point]) for metric, value in averages.items()},
                    **fixed,
                    **(costs.percentiles(found.reach[point]) if problem.percentiles else {}),
                },
                design,
            )
            for point in kept
        ]

    def _decision(self, stages: tuple[int, ...]) -> Decision:
        """What the mean of these stages' probabilities decides."""
        if stages not in self._known:
            total: Floats | None = None
            for position, stage in enumerate(stages):
                total = combine(total, self._rows[stage], position, "mean")
            assert total is not None
            guard = self._problem.guard
            values = [v for m in self._problem.metrics for v in guard.moments(m, total)]
            self._answers[stages], confidence = decide(total)
            self._known[stages] = Decision(confidence, values)
        return self._known[stages]

    def _answered(
        self, stages: tuple[int, ...], rule: str, thresholds: NDArray[np.float64]
    ) -> Ints:
        """What plans of these stages answer, (plans, n), for thresholds (plans, stages - 1)."""
        ends = [(s,) if rule == "last" else stages[: i + 1] for i, s in enumerate(stages)]
        answers = np.stack([self._answers[end] for end in ends])
        confidence = [self._known[end].confidence for end in ends]
        found = [np.choose(stopping(confidence, row), answers) for row in thresholds]
        return np.array(found, np.int64)


def _sampled(problem: Problem, sweeps: Sweeps, seed: int, trials: int) -> list[ComposedPlan]:
    """Structures proposed by NSGA-II, at one operating point each; each is swept whole."""
    order, swept = _cascade_order(problem), dict[tuple[tuple[int, ...], str], list[ComposedPlan]]()
    study = optuna.create_study(
        directions=["minimize"] * len(problem.objectives),
        sampler=optuna.samplers.NSGAIISampler(seed=seed),
    )
    for _ in range(trials):
        trial = study.ask()
        count = trial.suggest_int("stages", 2, problem.max_stages)
        picks = {trial.suggest_int(f"stage{i}", 0, len(order) - 1) for i in range(count)}
        rule = trial.suggest_categorical("rule", RULES)
        share = trial.suggest_float("answered_first", 0.0, 1.0)
        stages = tuple(order[position] for position in sorted(picks))
        if len(stages) > 1 and (stages, rule) not in swept:
            swept[stages, rule] = sweeps.plans(stages, rule)
        plans = front(swept.get((stages, rule), []), problem.objectives)
        if not plans:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        nearest = min(plans, key=lambda plan: abs(1.0 - plan.reach[1] - share))
        study.tell(trial, [float(value) for value in _costs([nearest], problem.objectives)[0]])
    return [plan for plans in swept.values() for plan in plans]
