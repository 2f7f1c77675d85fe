"""From measured candidates to judged plans: baseline, front, and the plan to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from planner.inputs import Rows
from planner.measuring import Measured
from planner.spec import JobSpec
from planner.stages import (
    metric_names,
    one_per_variant,
    reference_answers,
    reference_ms,
    stage_options,
)
from search.compose import Composed, Objective, Problem, compose, front
from search.constraints import Constraint, feasible
from search.costs import PathCosts
from search.fronts import non_dominated, spread
from search.guard import Guard, jury
from search.quality import Targets, interval
from search.replay import Replay, replay
from trimtab_runtime.definition import PlanDefinition
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import METRICS

#: Plans of the front that are judged, kept and shown.
FRONT_SIZE = 100


@dataclass
class Judged:
    """A plan with what was decided of it. `correction` is the latency that its bundle measured,
    relative to what was predicted for the same inputs."""

    composed: Composed
    definition: PlanDefinition
    label: str
    feasible: str = "unknown"
    is_baseline: bool = False
    on_front: bool = False
    is_chosen: bool = False
    reasons: list[str] = field(default_factory=list)
    correction: float = 1.0

    @property
    def key(self) -> str:
        return self.definition.key

    @property
    def values(self) -> dict[str, float]:
        """What decides: guarded quality and predicted costs, latencies corrected."""
        return {
            name: value * self.correction if name.startswith("latency_") else value
            for name, value in self.composed.values.items()
        }


class Choice:
    """Everything that is decided on `tune`, and the replays that `test` is reported with."""

    def __init__(self, spec: JobSpec, measured: Sequence[Measured], rows: Rows) -> None:
        self.spec, self.rows = spec, rows
        self.reference_ms = reference_ms(measured)
        reference = reference_answers(measured, spec.reference_name)
        taught_by = rows.labels if rows.labels is not None else reference
        assert taught_by is not None
        self.options = stage_options(measured, rows.fit, taught_by[rows.fit], self.reference_ms)
        self._members = self._fastest_as_they_came(measured)
        labelled = np.concatenate([rows.fit, rows.tune])
        opinion = jury(one_per_variant(self.options), labelled, taught_by[labelled])
        self._targets = {
            split: Targets(
                None if rows.labels is None else rows.labels[index],
                None if reference is None else reference[index],
                opinion[index],
            )
            for split, index in (("tune", rows.tune), ("test", rows.test))
        }
        names = metric_names(spec.objectives, rows.labels is not None)
        self.objectives = [Objective(name) for name in names]
        self.constraints = [Constraint.parse(text) for text in spec.constraints]
        self.quality = self._quality_metrics()
        self.baseline = self._choose_baseline(measured)
        self.plans = self._judge_all()

    def _fastest_as_they_came(self, measured: Sequence[Measured]) -> list[int]:
        """One option a member: as it came, with the runtime options that proved fastest."""
        best: dict[str, int] = {}
        for index, found in enumerate(measured):
            if found.candidate.precision != "as_is":
                continue
            rival = best.setdefault(found.candidate.member, index)
            if self._hot_ms(index) < self._hot_ms(rival):
                best[found.candidate.member] = index
        return list(best.values())

    def _hot_ms(self, index: int) -> float:
        return float(self.options[index].cost.total("hot").mean())

    def _named(self) -> list[str]:
        """The metrics that objectives and constraints name."""
        return [o.metric for o in self.objectives] + [c.metric for c in self.constraints]

    def _quality_metrics(self) -> list[str]:
        quality = [name for name in self._named() if METRICS[name].kind == "quality"]
        default = "top1" if self.rows.labels is not None else "agreement"
        found = list(dict.fromkeys(quality)) or [default]
        unknown = sorted(set(found) - set(self._targets["tune"].metrics))
        if unknown:
            raise PlanningError(
                f"{unknown[0]} cannot be told here: agreement needs `reference`, all else labels"
            )
        return found

    def _choose_baseline(self, measured: Sequence[Measured]) -> int:
        """The member to compare with, as it came, with its fastest options: the named one, else
        the most capable on tune."""
        named = self.spec.baseline_name
        members = [i for i in self._members if named in (None, measured[i].candidate.member)]
        if not members:
            raise PlanningError(f"the baseline {named} could not be measured")
        metric, targets = self.quality[0], self._targets["tune"]

        def rank(index: int) -> tuple[float, float]:
            found = targets.values(metric, self.options[index].probabilities[self.rows.tune])
            return -float(found.mean()), self._hot_ms(index)

        return min(members, key=rank)

    def _judge_all(self) -> list[Judged]:
        baseline = self.options[self.baseline].probabilities[self.rows.tune]
        problem = Problem(
            self.options,
            self.rows.tune,
            Guard(self._targets["tune"], baseline),
            self.quality,
            self.objectives,
            percentiles=any(name.startswith("latency_p") for name in self._named()),
            max_stages=3 if self.spec.techniques.cascade else 1,
        )
        composed = compose(problem)
        singles = [plan for plan in composed if len(plan.options) == 1]
        limits = {**singles[self.baseline].costs, **singles[self.baseline].replayed}
        allowed = [p for p in composed if feasible(self.constraints, p.values, limits) == "yes"]
        path = front(composed, self.objectives) + front(allowed, self.objectives)
        if not path:
            unknown = [o.metric for o in self.objectives if o.metric not in composed[0].values]
            raise PlanningError(f"{', '.join(unknown)} could not be measured on this device")
        plans = list({plan.key: plan for plan in map(self._judged, [*singles, *path])}.values())
        self._choose(plans)
        self._mark_front(plans)
        return self._thinned(plans)

    def _mark_front(self, plans: Sequence[Judged]) -> None:
        """The front is that of the feasible plans; of all, where none is feasible."""
        allowed = [plan for plan in plans if plan.feasible == "yes"] or plans
        costs = [[o.cost(plan.values[o.metric]) for o in self.objectives] for plan in allowed]
        for plan, keep in zip(allowed, non_dominated(np.array(costs)), strict=True):
            plan.on_front = bool(keep)

    def _judged(self, plan: Composed) -> Judged:
        member = len(plan.options) == 1 and plan.options[0] in self._members
        definition = plan.definition(self.options)
        return Judged(plan, definition, self.describe(plan), is_baseline=member)

    def _thinned(self, plans: list[Judged]) -> list[Judged]:
        """Baselines, single stages, the chosen plan, and FRONT_SIZE of the front; by latency."""
        ahead = [plan for plan in plans if plan.on_front]
        costs = [[o.cost(plan.values[o.metric]) for o in self.objectives] for plan in ahead]
        kept = {ahead[index].key for index in spread(np.array(costs), FRONT_SIZE)}
        found = [
            plan
            for plan in plans
            if plan.key in kept or plan.is_chosen or len(plan.composed.options) == 1
        ]
        for plan in found:
            stages = PathCosts([self.options[i].cost for i in plan.composed.options])
            plan.composed.costs.update(stages.percentiles(np.array(plan.composed.reach)))
        return sorted(found, key=lambda plan: plan.composed.costs["latency_mean_ms"])

    def describe(self, plan: Composed) -> str:
        """One line: the stages, and the share of inputs that reach each."""
        names = [self.options[i].name for i in plan.options]
        parts = [names[0]] + [
            f"{name} ({share:.0%})" for name, share in zip(names[1:], plan.reach[1:], strict=True)
        ]
        return " → ".join(parts) + (" mean" if plan.rule == "mean" else "")

    def _choose(self, plans: Sequence[Judged]) -> None:
        """Of `plans`, the baseline among them, the cheapest feasible one is chosen; unless a
        constraint bounds the quality, it must not be worse than the baseline."""
        baseline = next(p for p in plans if p.composed.options == (self.baseline,))
        limits = {**baseline.values, **baseline.composed.replayed}
        metric = self.quality[0]
        bounded = any(METRICS[c.metric].kind == "quality" for c in self.constraints)
        allowed = []
        for plan in plans:
            plan.is_chosen = False
            plan.feasible = feasible(self.constraints, plan.values, limits)
            plan.reasons = [
                f"{c.text}: {plan.values.get(c.metric, 'not measured')}"
                for c in self.constraints
                if c.check(plan.values, limits) != "yes"
            ]
            good = plan is baseline or bounded or plan.values[metric] >= limits[metric]
            if plan.feasible == "yes" and good:
                allowed.append(plan)
        if allowed:
            cost = next(
                (o.metric for o in self.objectives if METRICS[o.metric].kind == "cost"),
                "latency_mean_ms",
            )
            min(allowed, key=lambda plan: plan.values[cost]).is_chosen = True
            return
        nearest = min(
            plans, key=lambda p: max(c.shortfall(p.values, limits) for c in self.constraints)
        )
        nearest.reasons.append("no plan meets the constraints; this one comes nearest")

    def confirm(self, corrections: Mapping[str, float]) -> None:
        """Choose again among the verified plans, their latencies corrected by what their bundles
        measured: `corrections` maps keys of plans to measured / predicted. The baseline must be
        among them, or nothing changes."""
        verified = [plan for plan in self.plans if plan.key in corrections]
        if self.baseline_plan not in verified:
            return
        for plan in self.plans:
            plan.is_chosen = False
        for plan in verified:
            plan.correction = corrections[plan.key]
        self._choose(verified)

    @property
    def chosen(self) -> Judged | None:
        """The plan to ship; None when the constraints allow none."""
        return next((plan for plan in self.plans if plan.is_chosen), None)

    @property
    def baseline_plan(self) -> Judged:
        return next(p for p in self.plans if p.composed.options == (self.baseline,))

    def replayed_on(self, plan: Judged, split: str) -> Replay:
        """What the plan answers on a split."""
        rows: NDArray[np.int64] = getattr(self.rows, split)
        stages = [self.options[i].probabilities[rows] for i in plan.composed.options]
        return replay(stages, plan.composed.rule, plan.composed.thresholds)

    def report(self, plan: Judged, split: str) -> dict[str, tuple[float, float, float]]:
        """Each quality metric on a split: value and 95 % interval."""
        found = self.replayed_on(plan, split).metrics(self._targets[split])
        return {m: (float(v.mean()), *interval(v, m)) for m, v in found.items()}

    def predicted_stages(self, plan: Judged) -> list[tuple[float, float]]:
        """Milliseconds of each stage when it runs, and its share of the plan's mean latency."""
        costs = PathCosts([self.options[i].cost for i in plan.composed.options])
        means = costs.stage_ms()
        spent = [reach * mean for reach, mean in zip(plan.composed.reach, means, strict=True)]
        return [(mean, part / sum(spent)) for mean, part in zip(means, spent, strict=True)]

    def predicted(self, plan: Judged, split: str) -> dict[str, float]:
        """Latency metrics predicted for the very inputs of a split."""
        stages = len(plan.composed.options)
        reach = self.replayed_on(plan, split).reach(stages)
        costs = PathCosts([self.options[i].cost for i in plan.composed.options])
        mean = float(costs.mean_ms(reach[None])[0])
        return {"latency_mean_ms": mean, **costs.percentiles(reach)}
