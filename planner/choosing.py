"""From measured candidates to judged plans: baseline, front, and the plan to ship."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from db import MeasurementRecord
from planner.inputs import Rows
from planner.judging import FRONT_SIZE, Judged, Rules
from planner.measuring import Measured
from planner.spec import JobSpec
from planner.stages import (
    costs_together,
    metric_names,
    one_per_variant,
    reference_answers,
    reference_ms,
    stage_options,
)
from search.compose import Composed, Objective, Problem, compose, front
from search.constraints import Constraint, feasible, shortfall
from search.correction import CORRECTED, Correction, Learned, Pair, learn
from search.costs import PathCosts
from search.guard import Guard, jury
from search.quality import Ints, Targets
from search.replay import Replay, replay
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric


class Choice:
    """Everything that is decided on `tune`, and the replays that `test` is reported with.

    :meth:`judge` makes the `plans`; where none can be chosen, `nearest` is the one to look at.
    `correction` is what earlier jobs learned on this device.
    """

    def __init__(
        self,
        spec: JobSpec,
        measured: Sequence[Measured],
        rows: Rows,
        correction: Correction | None = None,
    ) -> None:
        self.spec, self.rows, self.measured = spec, rows, measured
        self.correction = correction or Correction()
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
                rows.classes,
            )
            for split, index in (("tune", rows.tune), ("test", rows.test))
        }
        names = metric_names(spec.objectives, rows.labels is not None)
        self.objectives = [Objective(name) for name in names]
        self.constraints = [Constraint.parse(text) for text in spec.constraints]
        self.quality = self._quality_metrics()
        self.rules = Rules(self.objectives, self.constraints, self.quality[0])
        self.baseline = self._choose_baseline(measured)
        self.plans: list[Judged] = []
        self.nearest: Judged | None = None

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
        quality = [name for name in self._named() if find_metric(name).kind == "quality"]
        default = "top1" if self.rows.labels is not None else "agreement"
        found = list(dict.fromkeys(quality)) or [default]
        unknown = [metric for metric in found if not self._targets["tune"].knows(metric)]
        if unknown:
            raise PlanningError(f"{unknown[0]} cannot be told on tune")
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

    def screen(self, count: int) -> list[tuple[int, ...]]:
        """At most `count` groups of options worth measuring together: the baseline, those of the
        cheapest plans that may be chosen, and those that span the front."""
        plans = self._composed(None)
        baseline = self._baseline_of(plans)
        cheapest = self.rules.good(plans, baseline)
        self.rules.mark_front(plans)
        ahead = self.rules.spanning([plan for plan in plans if plan.on_front], FRONT_SIZE)
        groups = dict.fromkeys(plan.composed.options for plan in cheapest)
        found = dict.fromkeys([baseline.composed.options, *list(groups)[: count // 2]])
        found |= dict.fromkeys(plan.composed.options for plan in ahead)
        return list(found)[:count]

    def judge(self, together: Mapping[tuple[int, ...], PathCosts] | None) -> None:
        """Compose, judge and choose. `together` holds what groups of options cost that were
        measured in one process; plans of other groups are left out."""
        plans = self._composed(together)
        self.nearest = self.rules.choose(plans, self._baseline_of(plans), plans)
        self.rules.mark_front(plans)
        self.plans = self.rules.thinned(plans, self.nearest)
        for plan in self.plans:
            reach = np.array(plan.composed.reach)
            plan.composed.costs.update(self._costs(plan).percentiles(reach))

    def costs_together(
        self, options: Sequence[int], visits: Sequence[MeasurementRecord]
    ) -> PathCosts:
        """What a group of options costs that was measured in one process."""
        parts = [self.measured[index] for index in options]
        stages, process = costs_together(parts, visits, self.reference_ms)
        return PathCosts(stages, process, self.correction)

    def _composed(self, together: Mapping[tuple[int, ...], PathCosts] | None) -> list[Judged]:
        """Single stages, the front, and the front of what meets the constraints."""
        baseline = self.options[self.baseline].probabilities[self.rows.tune]
        named = self._named()
        self._problem = Problem(
            self.options,
            self.rows.tune,
            Guard(self._targets["tune"], baseline),
            self.quality,
            self.objectives,
            percentiles=any(name.startswith("latency_p") for name in named),
            max_stages=3 if self.spec.techniques.cascade else 1,
            together=together,
            correction=self.correction,
        )
        composed = compose(self._problem)
        singles = [plan for plan in composed if len(plan.options) == 1]
        limits = {**singles[self.baseline].costs, **singles[self.baseline].replayed}
        allowed = [p for p in composed if feasible(self.constraints, p.values, limits) == "yes"]
        path = front(composed, self.objectives) + front(allowed, self.objectives)
        if not allowed:
            path.append(min(composed, key=lambda p: shortfall(self.constraints, p.values, limits)))
        if not path:
            unknown = [o.metric for o in self.objectives if o.metric not in composed[0].values]
            raise PlanningError(f"{', '.join(unknown)} could not be measured on this device")
        return list({plan.key: plan for plan in map(self._judged, [*singles, *path])}.values())

    def _judged(self, plan: Composed) -> Judged:
        member = len(plan.options) == 1 and plan.options[0] in self._members
        definition = plan.definition(self.options)
        return Judged(plan, definition, self.describe(plan), is_baseline=member)

    def _baseline_of(self, plans: Sequence[Judged]) -> Judged:
        return next(p for p in plans if p.composed.options == (self.baseline,))

    def describe(self, plan: Composed) -> str:
        """One line: the stages, and the share of inputs that reach each."""
        names = [self.options[i].name for i in plan.options]
        parts = [names[0]] + [
            f"{name} ({share:.0%})" for name, share in zip(names[1:], plan.reach[1:], strict=True)
        ]
        return " → ".join(parts) + (" mean" if plan.rule == "mean" else "")

    def selection(self, count: int) -> list[Judged]:
        """The chosen plan, the baseline, and `count` more at most that span the front."""
        always = [plan for plan in (self.chosen, self.baseline_plan) if plan is not None]
        spanning = self.rules.spanning([plan for plan in self.plans if plan.on_front], count)
        return list({plan.key: plan for plan in [*always, *spanning]}.values())

    def confirm(
        self, verified: Mapping[str, Mapping[str, Pair]], failed: Collection[str], last: bool
    ) -> dict[str, Learned]:
        """Choose again with what bundles measured.

        `verified` holds pairs of predicted and measured costs by the keys of plans and metric.
        A verified plan takes its own ratio, every other what the verified ones teach. `failed`
        plans cannot be chosen; the `last` time, only verified ones can. Returns what was learned.
        """
        learned = {}
        for metric in CORRECTED:
            pairs = [found[metric] for found in verified.values() if metric in found]
            lesson = learn(pairs, self.correction.models.get(metric, {}))
            if lesson is not None:
                learned[metric] = lesson
        after = Correction({metric: lesson.model for metric, lesson in learned.items()})
        for plan in self.plans:
            stages, own = len(plan.composed.options), verified.get(plan.key, {})
            for metric in CORRECTED:
                if metric in own:
                    plan.factors[metric] = own[metric].measured / own[metric].predicted
                elif metric in learned:
                    before = self.correction.factor(metric, stages)
                    plan.factors[metric] = after.factor(metric, stages) / before
        among = [p for p in self.plans if p.key in verified or not (last or p.key in failed)]
        self.nearest = self.rules.choose(self.plans, self.baseline_plan, among)
        self.rules.mark_front(self.plans)
        return learned

    @property
    def chosen(self) -> Judged | None:
        """The plan to ship; None when the constraints allow none."""
        return next((plan for plan in self.plans if plan.is_chosen), None)

    @property
    def baseline_plan(self) -> Judged:
        return self._baseline_of(self.plans)

    def replayed(self, plan: Judged, rows: Ints) -> Replay:
        """What the plan answers on these inputs."""
        stages = [self.options[i].probabilities[rows] for i in plan.composed.options]
        return replay(stages, plan.composed.rule, plan.composed.thresholds)

    def replayed_on(self, plan: Judged, split: str) -> Replay:
        """What the plan answers on a split."""
        rows: Ints = getattr(self.rows, split)
        return self.replayed(plan, rows)

    def report(self, plan: Judged, split: str) -> dict[str, tuple[float, float, float]]:
        """Each quality metric on a split: value and 95 % interval."""
        targets, decided = self._targets[split], self.replayed_on(plan, split).decided
        metrics = dict.fromkeys([*targets.metrics, *self.quality])
        return {m: targets.told(m, decided) for m in metrics if targets.knows(m)}

    def optimism(self, plan: Judged, metric: str) -> tuple[float, float, float] | None:
        """What the guard left of the luck of choosing: the guarded lead over the baseline on
        tune, less the lead on test; with the 95 % interval that test allows. None for the
        baseline itself, and where test cannot tell."""
        if plan is self.baseline_plan or not self._targets["test"].knows(metric):
            return None
        replays = [self.replayed_on(p, "test").decided for p in (plan, self.baseline_plan)]
        targets = replace(self._targets["test"], around=replays[1].argmax(1))
        own, base = (targets.values(metric, decided) for decided in replays)
        lead = targets.told(metric, replays[0])[0] - targets.told(metric, replays[1])[0]
        half = 1.96 * float((own - base).std()) / np.sqrt(len(own))
        expected = plan.composed.guarded[metric] - self.baseline_plan.composed.replayed[metric]
        return expected - lead, expected - lead - half, expected - lead + half

    def predicted_stages(self, plan: Judged) -> list[tuple[float, float]]:
        """Milliseconds of each stage when it runs, and its share of the plan's mean latency."""
        means = self._costs(plan).stage_ms()
        spent = [reach * mean for reach, mean in zip(plan.composed.reach, means, strict=True)]
        return [(mean, part / sum(spent)) for mean, part in zip(means, spent, strict=True)]

    def predicted(self, plan: Judged, rows: Ints) -> dict[str, float]:
        """Costs predicted for these very inputs, without what bundles of this job taught."""
        reach = self.replayed(plan, rows).reach(len(plan.composed.options))
        return self._costs(plan).known(reach)

    def _costs(self, plan: Judged) -> PathCosts:
        return self._problem.path_costs(plan.composed.options)
