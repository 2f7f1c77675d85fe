"""From measured and traced stages to the plans worth looking at.

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

from search.costs import PathCosts, StageCost
from search.fronts import non_dominated, spread
from search.guard import Guard
from search.quality import Floats, Ints
from search.sweep import Decision, sweep
from trimtab_runtime.definition import RULES, PlanDefinition, Stage, Structure
from trimtab_runtime.metrics import METRICS
from trimtab_runtime.routing import combine, decide

#: Structures that are all swept; above, so many are proposed by Optuna.
AFFORDABLE = 4000
#: Operating points that a structure may bring to the common front; the smaller number where
#: percentiles, which cost more, are asked for.
PER_STRUCTURE, WITH_PERCENTILES = 64, 24


@dataclass(frozen=True)
class StageOption:
    """A traced and measured variant with its options: something that can be a stage.

    `probabilities` (inputs, classes) are calibrated and cover the whole workload. `alone` marks
    options that only a plan of one stage may use (spinning threads).
    """

    name: str
    stage: Stage
    cost: StageCost
    probabilities: Floats
    alone: bool = False


@dataclass(frozen=True)
class Objective:
    """A metric to be maximised or minimised, as metrics.py says."""

    metric: str

    def cost(self, value: float) -> float:
        """The value as something to be minimised."""
        return -value if METRICS[self.metric].maximise else value


@dataclass(frozen=True)
class Composed:
    """A plan over numbered options, with what is expected of it: quality on tune as `replayed`
    and `guarded` (see guard.py), and predicted `costs`."""

    options: tuple[int, ...]
    rule: str
    thresholds: tuple[float, ...]
    reach: tuple[float, ...]
    replayed: dict[str, float]
    guarded: dict[str, float]
    costs: dict[str, float]

    def definition(self, options: Sequence[StageOption]) -> PlanDefinition:
        """The plan itself."""
        stages = tuple(options[index].stage for index in self.options)
        route = "single" if len(stages) == 1 else "cascade"
        return PlanDefinition(Structure(route, stages, self.rule), self.thresholds)

    @property
    def values(self) -> dict[str, float]:
        """What decides: guarded quality and predicted costs."""
        return {**self.costs, **self.guarded}


@dataclass(frozen=True)
class Problem:
    """What is searched: options, the rows `tune` (indices into the workload) with the guard that
    judges on them, the quality metrics wanted of every plan, the objectives, and whether latency
    percentiles are wanted."""

    options: Sequence[StageOption]
    tune: Ints
    guard: Guard
    metrics: Sequence[str]
    objectives: Sequence[Objective]
    percentiles: bool = False
    max_stages: int = 3


def compose(problem: Problem, seed: int = 0, affordable: int = AFFORDABLE) -> list[Composed]:
    """All plans that are on the front of their own structure, single stages first.

    Where there are more than `affordable` structures, so many are proposed by NSGA-II.
    """
    sweeps = _Sweeps(problem)
    plans = [plan for index in range(len(problem.options)) for plan in sweeps.plans((index,))]
    structures = list(itertools.islice(_structures(problem), affordable + 1))
    if len(structures) > affordable:
        return plans + _sampled(problem, sweeps, seed, affordable)
    for stages, rule in structures:
        plans += sweeps.plans(stages, rule)
    return plans


def front(plans: Sequence[Composed], objectives: Sequence[Objective]) -> list[Composed]:
    """Plans that none of `plans` dominates; those with an unknown objective are left out."""
    known = [plan for plan in plans if all(o.metric in plan.values for o in objectives)]
    if not known:
        return []
    kept = non_dominated(_costs(known, objectives))
    return [plan for plan, keep in zip(known, kept, strict=True) if keep]


def _costs(plans: Sequence[Composed], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    rows = [[o.cost(plan.values[o.metric]) for o in objectives] for plan in plans]
    return np.array(rows, np.float64).reshape(len(plans), len(objectives))


def _cascade_order(problem: Problem) -> list[int]:
    """Options that may stand in a cascade, the fastest first."""
    allowed = [i for i, option in enumerate(problem.options) if not option.alone]
    return sorted(allowed, key=lambda i: float(problem.options[i].cost.total("beside").mean()))


def _structures(problem: Problem) -> Iterator[tuple[tuple[int, ...], str]]:
    order = _cascade_order(problem)
    for count in range(2, problem.max_stages + 1):
        for stages in itertools.combinations(order, count):
            for rule in RULES:
                yield stages, rule


class _Sweeps:
    """Sweeps structures; what structures have in common is decided once."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rows = [option.probabilities[problem.tune] for option in problem.options]
        self._known: dict[tuple[int, ...], Decision] = {}
        self._points = WITH_PERCENTILES if problem.percentiles else PER_STRUCTURE

    def plans(self, stages: tuple[int, ...], rule: str = "last") -> list[Composed]:
        """The structure's own front, thinned to a number of operating points."""
        problem = self._problem
        found = sweep(
            [
                self._decision((stage,) if rule == "last" else stages[: position + 1])
                for position, stage in enumerate(stages)
            ]
        )
        if not len(found.thresholds):
            return []
        quality = {
            metric: problem.guard.estimate(metric, found.means[4 * i : 4 * i + 4])
            for i, metric in enumerate(problem.metrics)
        }
        costs = PathCosts([problem.options[index].cost for index in stages])
        # Within a structure latency is what varies; its percentiles rise with its mean.
        means = costs.mean_ms(found.reach)
        axes = np.stack([means, *(-quality[m].guarded for m in problem.metrics)], axis=1)
        kept = np.flatnonzero(non_dominated(axes))
        kept = kept[spread(axes[kept], self._points)]
        fixed = costs.fixed()
        return [
            Composed(
                stages,
                rule,
                tuple(float(t) for t in found.thresholds[point]),
                tuple(float(r) for r in found.reach[point]),
                {metric: float(quality[metric].replayed[point]) for metric in problem.metrics},
                {metric: float(quality[metric].guarded[point]) for metric in problem.metrics},
                {
                    "latency_mean_ms": float(means[point]),
                    **fixed,
                    **(costs.percentiles(found.reach[point]) if problem.percentiles else {}),
                },
            )
            for point in sorted(kept)
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
            self._known[stages] = Decision(decide(total)[1], values)
        return self._known[stages]


def _sampled(problem: Problem, sweeps: _Sweeps, seed: int, trials: int) -> list[Composed]:
    """Structures proposed by NSGA-II, at one operating point each; each is swept whole."""
    order, swept = _cascade_order(problem), dict[tuple[tuple[int, ...], str], list[Composed]]()
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
