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
from search.quality import Floats, Targets
from search.sweep import decisions, sweep
from trimtab_runtime.definition import RULES, PlanDefinition, Stage, Structure
from trimtab_runtime.metrics import METRICS

#: Structures that are all swept; above, so many are proposed by Optuna.
AFFORDABLE = 4000
#: Operating points that a structure may bring to the common front.
PER_STRUCTURE = 64


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
    """A plan over numbered options, with what is expected of it.

    `quality` is expected under soft labels (see guard.py), `costs` are predicted.
    """

    options: tuple[int, ...]
    rule: str
    thresholds: tuple[float, ...]
    reach: tuple[float, ...]
    quality: dict[str, float]
    costs: dict[str, float]

    def definition(self, options: Sequence[StageOption]) -> PlanDefinition:
        """The plan itself."""
        stages = tuple(options[index].stage for index in self.options)
        route = "single" if len(stages) == 1 else "cascade"
        return PlanDefinition(Structure(route, stages, self.rule), self.thresholds)

    def value(self, metric: str) -> float | None:
        """Expected quality or predicted cost; None where it is not known."""
        return self.quality.get(metric, self.costs.get(metric))


@dataclass(frozen=True)
class Problem:
    """What is searched: options, targets of the rows `tune` (indices into the workload), the
    metrics to be known of every plan, and the objectives."""

    options: Sequence[StageOption]
    tune: NDArray[np.int64]
    targets: Targets
    metrics: Sequence[str]
    objectives: Sequence[Objective]
    max_stages: int = 3


def compose(problem: Problem, seed: int = 0) -> list[Composed]:
    """All plans that are on the front of their own structure, single stages first."""
    plans = [plan for index in range(len(problem.options)) for plan in _swept(problem, (index,))]
    structures = list(itertools.islice(_structures(problem), AFFORDABLE + 1))
    if len(structures) <= AFFORDABLE:
        for stages, rule in structures:
            plans += _swept(problem, stages, rule)
        return plans
    return plans + _sampled(problem, seed)


def front(plans: Sequence[Composed], objectives: Sequence[Objective]) -> list[Composed]:
    """Plans that none of `plans` dominates; those with an unknown objective are left out."""
    known = [plan for plan in plans if all(plan.value(o.metric) is not None for o in objectives)]
    if not known:
        return []
    kept = non_dominated(_costs(known, objectives))
    return [plan for plan, keep in zip(known, kept, strict=True) if keep]


def _costs(plans: Sequence[Composed], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    rows = [[o.cost(plan.value(o.metric) or 0.0) for o in objectives] for plan in plans]
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


def _swept(problem: Problem, stages: tuple[int, ...], rule: str = "last") -> list[Composed]:
    """The structure's own front, thinned to PER_STRUCTURE operating points."""
    chosen = [problem.options[index] for index in stages]
    rows = [option.probabilities[problem.tune] for option in chosen]
    found = sweep(decisions(rows, rule, problem.targets, problem.metrics))
    if not len(found.thresholds):
        return []
    costs = PathCosts([option.cost for option in chosen])
    fixed, means = costs.fixed(), costs.mean_ms(found.reach)
    # Within a structure latency is what varies; its percentiles rise with its mean.
    axes = [-found.metrics[metric] for metric in problem.metrics]
    matrix = np.stack([means, *axes], axis=1)
    kept = np.flatnonzero(non_dominated(matrix))
    kept = kept[spread(matrix[kept], PER_STRUCTURE)]
    wanted = [m for m in _named(problem) if m.startswith("latency_p")]
    plans = []
    for point in sorted(kept):
        predicted = {"latency_mean_ms": float(means[point]), **fixed}
        if wanted:
            predicted |= costs.percentiles(found.reach[point])
        plans.append(
            Composed(
                stages,
                rule,
                tuple(float(t) for t in found.thresholds[point]),
                tuple(float(r) for r in found.reach[point]),
                {metric: float(found.metrics[metric][point]) for metric in problem.metrics},
                predicted,
            )
        )
    return plans


def _named(problem: Problem) -> list[str]:
    return [*problem.metrics, *(objective.metric for objective in problem.objectives)]


def _sampled(problem: Problem, seed: int) -> list[Composed]:
    """Structures proposed by NSGA-II, at one operating point each; each is swept whole."""
    order, swept = _cascade_order(problem), dict[tuple[tuple[int, ...], str], list[Composed]]()
    study = optuna.create_study(
        directions=["minimize"] * len(problem.objectives),
        sampler=optuna.samplers.NSGAIISampler(seed=seed),
    )
    for _ in range(AFFORDABLE):
        trial = study.ask()
        count = trial.suggest_int("stages", 2, problem.max_stages)
        picks = {trial.suggest_int(f"stage{i}", 0, len(order) - 1) for i in range(count)}
        rule = trial.suggest_categorical("rule", RULES)
        share = trial.suggest_float("answered_first", 0.0, 1.0)
        stages = tuple(order[position] for position in sorted(picks))
        if len(stages) > 1 and (stages, rule) not in swept:
            swept[stages, rule] = _swept(problem, stages, rule)
        plans = front(swept.get((stages, rule), []), problem.objectives)
        if not plans:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        nearest = min(plans, key=lambda plan: abs(1.0 - plan.reach[1] - share))
        study.tell(trial, [float(value) for value in _costs([nearest], problem.objectives)[0]])
    return [plan for plans in swept.values() for plan in plans]
