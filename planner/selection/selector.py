"""From measured candidates to judged plans: baseline, front, and the plan to ship."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from trimtab.db import MeasurementRecord
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.candidates.stages import (
    costs_together,
    metric_names,
    one_per_variant,
    reference_answers,
    reference_ms,
    stage_options,
)
from trimtab.planner.jobs.dataset import SplitRows
from trimtab.planner.selection.certificates import attach_certificates
from trimtab.planner.selection.corrections import correct
from trimtab.planner.selection.evaluation import PlanEvaluator, steps_of
from trimtab.planner.selection.labels import describe
from trimtab.planner.selection.operating_points import family
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.rules import FRONT_SIZE, SelectionRules
from trimtab.planner.specification.job import JobSpec
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Correction, Learned, Pair
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.estimates.cluster_bootstrap import design_effect
from trimtab.search.estimates.guard import Guard, jury
from trimtab.search.estimates.metrics import can_tell, quality_metric
from trimtab.search.estimates.targets import Targets
from trimtab.search.objectives.constraints import Constraint
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.cascades import compose
from trimtab.search.plans.plan import ComposedPlan, StageOption
from trimtab.search.plans.problem import Problem
from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric


class PlanSelector(PlanEvaluator):
    """Everything that is decided on `tune`, and the replays that `test` is reported with.

    :meth:`judge` makes the `plans`; where none can be chosen, `nearest` is the one to look at.
    `correction` is what earlier jobs learned on this device; options are calibrated as those
    `agreed` on another device, where there are any.
    """

    def __init__(
        self,
        spec: JobSpec,
        measured: Sequence[Measured],
        rows: SplitRows,
        correction: Correction | None = None,
        agreed: Sequence[StageOption] = (),
    ) -> None:
        self.spec, self.measured = spec, measured
        self.correction = correction or Correction()
        self.reference_ms = reference_ms(measured)
        reference = reference_answers(measured, spec.reference_name)
        taught_by = rows.labels if rows.labels is not None else reference
        assert taught_by is not None
        options = stage_options(measured, rows.fit, taught_by[rows.fit], self.reference_ms, agreed)
        labelled = np.concatenate([rows.fit, rows.tune])
        opinion = jury(one_per_variant(options), labelled, taught_by[labelled])
        targets = {
            split: Targets(
                None if rows.labels is None else rows.labels[index],
                None if reference is None else reference[index],
                opinion[index],
                rows.classes,
                blocks=None if rows.blocks is None else rows.blocks[index],
            )
            for split, index in (("tune", rows.tune), ("test", rows.test))
        }
        super().__init__(rows, options, targets)
        self.members = self._fastest_as_they_came(measured)
        names = metric_names(spec.objectives, rows.labels is not None)
        self.objectives = [Objective(name) for name in names]
        self.constraints = [Constraint.parse(text) for text in spec.constraints]
        self.quality = self._quality_metrics()
        self.rules = SelectionRules(self.objectives, self.constraints, self.quality[0])
        self.baseline = self._choose_baseline(measured)
        self.plans: list[PlanCandidate] = []
        self.nearest: PlanCandidate | None = None
        self.swept: list[ComposedPlan] = []
        self.taught_by = taught_by

    def _fastest_as_they_came(self, measured: Sequence[Measured]) -> list[int]:
        """One option a member: as it came, with the runtime options that proved fastest."""
        best: dict[str, int] = {}
        for index, found in enumerate(measured):
            if found.candidate.precision != "as_is":
                continue
            rival = best.setdefault(found.candidate.member, index)
            if self.hot_ms(index) < self.hot_ms(rival):
                best[found.candidate.member] = index
        return list(best.values())

    def hot_ms(self, index: int) -> float:
        """The mean latency of an option alone."""
        return float(self.options[index].cost.total("hot").mean())

    def _named(self) -> list[str]:
        """The metrics that objectives and constraints name."""
        return [o.metric for o in self.objectives] + [c.metric for c in self.constraints]

    def _quality_metrics(self) -> list[str]:
        quality = [name for name in self._named() if find_metric(name).kind == "quality"]
        default = "top1" if self.rows.labels is not None else "agreement"
        found = list(dict.fromkeys(quality)) or [default]
        unknown = [metric for metric in found if not can_tell(self.targets["tune"], metric)]
        if unknown:
            raise PlanningError(f"{unknown[0]} cannot be told on tune")
        return found

    def _choose_baseline(self, measured: Sequence[Measured]) -> int:
        """The member to compare with, as it came, with its fastest options: the named one, else
        the most capable on tune."""
        named = self.spec.baseline_name
        members = [i for i in self.members if named in (None, measured[i].candidate.member)]
        if not members:
            raise PlanningError(f"the baseline {named} could not be measured")
        return min(members, key=lambda index: (-self.capability(index), self.hot_ms(index)))

    def capability(self, index: int) -> float:
        """The quality of an option alone, on tune."""
        found = self.options[index].probabilities[self.rows.tune]
        return float(quality_metric(self.quality[0]).values(self.targets["tune"], found).mean())

    def screen(self, count: int) -> list[tuple[int, ...]]:
        """At most `count` groups of options worth measuring together: the baseline, those of the
        cheapest plans that may be chosen, and those that span the front."""
        plans = self._composed(None)
        baseline = self._baseline_of(plans)
        cheapest = self.rules.good(plans, baseline)
        self.cheapest = [plan.composed for plan in cheapest]
        self.least = self._least(baseline)
        self.rules.mark_front(plans)
        ahead = self.rules.spanning([plan for plan in plans if plan.on_front], FRONT_SIZE)
        groups = dict.fromkeys(plan.composed.options for plan in cheapest)
        found = dict.fromkeys([baseline.composed.options, *list(groups)[: count // 2]])
        found |= dict.fromkeys(plan.composed.options for plan in ahead)
        return list(found)[:count]

    def _least(self, baseline: PlanCandidate) -> float:
        """The quality that a plan must keep: what constraints ask of it, else the baseline's."""
        quality, limits = self.quality[0], baseline.composed.replayed
        bounds = [
            limit
            for rule in self.constraints
            if rule.metric == quality and (limit := rule.limit(limits)) is not None
        ]
        return max(bounds, default=limits[quality])

    def whole_chain(self, index: int) -> StageSegments:
        """An option that runs whole, as steps are counted."""
        cost = self.options[index].cost
        return StageSegments((cost,), cost.values, cost.size_mb)

    def judge(
        self,
        together: Mapping[tuple[int, ...], CascadeCosts] | None,
        built: Sequence[ComposedPlan] = (),
    ) -> None:
        """Compose, judge and choose, among `built` plans too: those that stop early, or are
        routed. `together` holds what groups of options cost that were measured in one process;
        plans of other groups are left out."""
        plans = self._composed(together, built)
        attach_certificates(self, plans)
        self.nearest = self.rules.choose(plans, self._baseline_of(plans), plans)
        self.rules.mark_front(plans)
        kept = self.rules.thinned(plans, self.nearest)
        shown = self._shown(built)
        kept += [p for p in plans if any(p.composed is s for s in shown)]
        unique = {plan.key: plan for plan in kept}.values()
        self.plans = sorted(unique, key=lambda plan: plan.composed.costs["latency_mean_ms"])
        self.add_percentiles()

    def add_percentiles(self) -> None:
        """Predict the latency percentiles of all plans."""
        for plan in self.plans:
            plan.composed.costs.update(self._costs(plan).percentiles(steps_of(plan.composed)))

    def costs_together(
        self, options: Sequence[int], visits: Sequence[MeasurementRecord]
    ) -> CascadeCosts:
        """What a group of options costs that was measured in one process."""
        parts = [self.measured[index] for index in options]
        stages, process = costs_together(parts, visits, self.reference_ms)
        return CascadeCosts(stages, process, self.correction)

    def pose(self, together: Mapping[tuple[int, ...], CascadeCosts] | None) -> None:
        """Make the problem that plans are composed of."""
        baseline = self.options[self.baseline].probabilities[self.rows.tune]
        named = self._named()
        objects = None if self.rows.objects is None else self.rows.objects[self.rows.tune]
        repeats = 1.0 if objects is None else design_effect(objects)
        self.problem = Problem(
            self.options,
            self.rows.tune,
            Guard(self.targets["tune"], baseline, repeats, objects),
            self.quality,
            self.objectives,
            percentiles=any(name.startswith("latency_p") for name in named),
            max_stages=3 if self.spec.techniques.cascade else 1,
            together=together,
            correction=self.correction,
        )

    def _composed(
        self,
        together: Mapping[tuple[int, ...], CascadeCosts] | None,
        built: Sequence[ComposedPlan] = (),
    ) -> list[PlanCandidate]:
        """Single stages, the front, and the front of what meets the constraints; and the plans
        that early ones are compared with."""
        self.pose(together)
        composed = self.swept = [*compose(self.problem), *built]
        singles = composed[: len(self.options)]
        path = self.rules.worthy(composed, singles[self.baseline])
        every = map(self.judged, [*singles, *path, *self._shown(built)])
        return list({plan.key: plan for plan in every}.values())

    def proposed(self) -> list[ComposedPlan]:
        """The best plans by single measurements: members, the front, the cheapest good ones."""
        plans = self._composed(None)
        cheapest = self.rules.good(plans, self._baseline_of(plans))
        return [plan.composed for plan in [*plans, *cheapest]]

    def family(self, own: PlanCandidate) -> tuple[OperatingPoint, ...]:
        """The operating points to bundle with a plan: of all that were composed of its structure,
        or, where it is certified, of those plans that are too."""
        like = (own.composed.options, own.composed.rule)
        same = (plan for plan in self.swept if (plan.options, plan.rule) == like)
        siblings = [self.judged(plan) for plan in same]
        if own.certificate and own.certified:
            siblings = [plan for plan in self.plans if plan.certified]
        return family(siblings, own, self.quality[0])

    def _shown(self, built: Sequence[ComposedPlan]) -> list[ComposedPlan]:
        """Those of the `built` plans that are listed though others may beat them."""
        rivals = [plan for plan in built if plan.rival]
        return rivals + (best_routed(built, self.quality[0], self.least) if built else [])

    def judged(self, plan: ComposedPlan) -> PlanCandidate:
        """A plan that is to be judged."""
        member = len(plan.options) == 1 and plan.options[0] in self.members
        if plan.early is not None or plan.routed is not None:
            member = bool(plan.rival)
        definition = plan.definition(self.options)
        return PlanCandidate(plan, definition, self.describe(plan), is_baseline=member)

    def _baseline_of(self, plans: Sequence[PlanCandidate]) -> PlanCandidate:
        whole = (plan for plan in plans if plan.composed.early is None)
        return next(plan for plan in whole if plan.composed.options == (self.baseline,))

    def describe(self, plan: ComposedPlan) -> str:
        """The plan in one line."""
        return describe([self.options[index].name for index in plan.options], plan)

    def selection(self, count: int) -> list[PlanCandidate]:
        """The chosen plan, the baseline, what early plans are compared with, and `count` more at
        most that span the front."""
        always = [plan for plan in (self.chosen, self.baseline_plan) if plan is not None]
        always += [plan for plan in self.plans if plan.composed.rival]
        spanning = self.rules.spanning([plan for plan in self.plans if plan.on_front], count)
        return list({plan.key: plan for plan in [*always, *spanning]}.values())

    def confirm(
        self, verified: Mapping[str, Mapping[str, Pair]], failed: Collection[str], last: bool
    ) -> dict[str, Learned]:
        """Choose again with what bundles measured.

        `failed` plans cannot be chosen; the `last` time, only verified ones can. Returns what
        was learned, see :func:`trimtab.planner.selection.corrections.correct`.
        """
        learned = correct(self.plans, verified, self.correction)
        among = [p for p in self.plans if p.key in verified or not (last or p.key in failed)]
        self.nearest = self.rules.choose(self.plans, self.baseline_plan, among)
        self.rules.mark_front(self.plans)
        return learned

    @property
    def chosen(self) -> PlanCandidate | None:
        """The plan to ship; None when the constraints allow none."""
        return next((plan for plan in self.plans if plan.is_chosen), None)

    @property
    def baseline_plan(self) -> PlanCandidate:
        """The plan that others are compared with."""
        return self._baseline_of(self.plans)


def best_routed(plans: Sequence[ComposedPlan], quality: str, least: float) -> list[ComposedPlan]:
    """Of each kind of router the plan to be shown though others may beat it: the fastest whose
    guarded quality is `least` or better; where there is none, the best."""
    kinds: dict[str, list[ComposedPlan]] = {}
    for plan in plans:
        if plan.routed is not None:
            kinds.setdefault(plan.routed.design.kind, []).append(plan)
    found = []
    for own in kinds.values():
        good = [plan for plan in own if plan.guarded[quality] >= least]
        if good:
            found.append(min(good, key=lambda plan: plan.costs["latency_mean_ms"]))
        else:
            found.append(max(own, key=lambda plan: plan.guarded[quality]))
    return found
