"""Selects the plan to ship from measured candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.planner.selection.certificates import attach_certificates
from trimtab.planner.selection.corrections import correct
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.operating_points import family
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.rules import FRONT_SIZE, Selection, SelectionRules
from trimtab.planner.selection.ties import DeviceTies
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Learned, Pair
from trimtab.search.estimates.cluster_bootstrap import design_effect
from trimtab.search.estimates.guard import Guard
from trimtab.search.plans.cascades import compose
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.plans.problem import Problem
from trimtab.search.routing.design import BuiltRouted
from trimtab_runtime.definitions.plan import OperatingPoint

#: What groups of options cost that were measured in one process.
Together = Mapping[tuple[int, ...], CascadeCosts]


@dataclass(frozen=True)
class Screening:
    """What single measurements say. `problem` is what plans were composed of; `groups` of options
    are worth measuring together; `cheapest` are the plans that may be chosen, the cheapest first;
    `least` is the quality that a plan must keep."""

    data: SelectionData
    problem: Problem
    groups: list[tuple[int, ...]]
    cheapest: list[ComposedPlan]
    least: float


class PlanSelector:
    """Selects plans on validation data (tune) alone."""

    def __init__(self, data: SelectionData) -> None:
        self.data, self.evaluator = data, PlanEvaluator(data)
        self.rules = SelectionRules(data.objectives, data.constraints, data.quality[0])
        self.ties = DeviceTies(self.evaluator, self._guard(), self.rules.quality, self.rules.cost)

    def screen(self, count: int) -> Screening:
        """At most `count` groups of options worth measuring together: the baseline, those of the
        cheapest plans that may be chosen, and those that span the front."""
        problem = self.problem(None)
        plans = self._judged(problem, compose(problem), ())
        baseline = self.baseline_of(plans)
        cheapest = self.rules.good(plans, baseline)
        self.rules.mark_front(plans)
        ahead = self.rules.spanning([plan for plan in plans if plan.on_front], FRONT_SIZE)
        groups = dict.fromkeys(plan.composed.options for plan in cheapest)
        found = dict.fromkeys([baseline.composed.options, *list(groups)[: count // 2]])
        found |= dict.fromkeys(plan.composed.options for plan in ahead)
        return Screening(
            self.data,
            problem,
            list(found)[:count],
            [plan.composed for plan in cheapest],
            self._least(baseline),
        )

    def proposed(self) -> list[ComposedPlan]:
        """The best plans by single measurements: members, the front, the cheapest good ones."""
        problem = self.problem(None)
        plans = self._judged(problem, compose(problem), ())
        cheapest = self.rules.good(plans, self.baseline_of(plans))
        return [plan.composed for plan in [*plans, *cheapest]]

    def select(
        self, together: Together | None, built: Sequence[ComposedPlan] = (), least: float = 0.0
    ) -> Selection:
        """Compose, judge and choose, among the `built` plans of techniques too. `together` holds
        what groups of options cost that were measured in one process; plans of other groups are
        left out. `least` is the quality that a plan must keep."""
        problem = self.problem(together)
        swept = [*compose(problem), *built]
        shown = _shown(built, self.data.quality[0], least)
        plans = self._judged(problem, swept, shown)
        attach_certificates(self.evaluator, self.data.spec.certify, plans)
        baseline = self.baseline_of(plans)
        nearest = self.rules.choose(plans, baseline, plans, self.ties)
        self.rules.mark_front(plans)
        kept = self.rules.thinned(plans, nearest)
        kept += [p for p in plans if any(p.composed is s for s in shown)]
        unique = {plan.key: plan for plan in kept}.values()
        found = sorted(unique, key=lambda plan: plan.composed.costs["latency_mean_ms"])
        add_percentiles(found)
        return Selection(found, swept, baseline, nearest)

    def confirm(
        self,
        selection: Selection,
        pairs: Mapping[str, Mapping[str, Pair]],
        among: Sequence[PlanCandidate],
    ) -> tuple[Selection, dict[str, Learned]]:
        """Choose again `among` these plans, with what bundles measured. Returns also what was
        learned of it, see :func:`trimtab.planner.selection.corrections.correct`."""
        learned = correct(selection.plans, pairs, self.data.correction)
        return self.rules.chosen_again(selection, among, self.ties), learned

    def family(self, selection: Selection, own: PlanCandidate) -> tuple[OperatingPoint, ...]:
        """The operating points to bundle with a plan: of all that were composed of its structure,
        or, where it is certified, of those plans that are too."""
        like = (own.composed.options, own.composed.rule)
        same = (plan for plan in selection.swept if (plan.options, plan.rule) == like)
        siblings = [self.candidate(plan) for plan in same]
        if own.certificate and own.certified:
            siblings = [plan for plan in selection.plans if plan.certified]
        return family(siblings, own, self.data.quality[0])

    def problem(self, together: Together | None) -> Problem:
        """What plans are composed of."""
        data = self.data
        return Problem(
            data.options,
            data.rows.tune,
            self._guard(),
            data.quality,
            data.objectives,
            percentiles=any(name.startswith("latency_p") for name in data.named),
            max_stages=3 if data.spec.techniques.cascade else 1,
            together=together,
            correction=data.correction,
        )

    def _guard(self) -> Guard:
        """What estimates quality on tune."""
        data = self.data
        baseline = data.options[data.baseline].probabilities[data.rows.tune]
        objects = None if data.rows.objects is None else data.rows.objects[data.rows.tune]
        repeats = 1.0 if objects is None else design_effect(objects)
        return Guard(data.targets["tune"], baseline, repeats, objects)

    def candidate(self, plan: ComposedPlan) -> PlanCandidate:
        """A plan that is to be judged."""
        names = [self.data.options[index].name for index in plan.options]
        label = plan.design.label(names, plan.reach, plan.thresholds)
        alone = len(plan.options) == 1 and plan.options[0] in self.data.members
        compared = alone if plan.design.kind == "cascade" else bool(plan.design.rival)
        return PlanCandidate(plan, plan.definition, label, is_baseline=compared)

    def baseline_of(self, plans: Sequence[PlanCandidate]) -> PlanCandidate:
        """The plan that others are compared with."""
        whole = (plan for plan in plans if plan.composed.design.kind == "cascade")
        return next(plan for plan in whole if plan.composed.options == (self.data.baseline,))

    def _judged(
        self, problem: Problem, swept: Sequence[ComposedPlan], shown: Sequence[ComposedPlan]
    ) -> list[PlanCandidate]:
        """Single stages, the front, and the front of what meets the constraints; and those that
        are `shown` in any case."""
        singles = swept[: len(problem.options)]
        path = self.rules.worthy(swept, singles[self.data.baseline])
        every = map(self.candidate, [*singles, *path, *shown])
        return list({plan.key: plan for plan in every}.values())

    def _least(self, baseline: PlanCandidate) -> float:
        """The quality that a plan must keep: what constraints ask of it, else the baseline's."""
        quality, limits = self.data.quality[0], baseline.composed.replayed
        bounds = [
            limit
            for rule in self.data.constraints
            if rule.metric == quality and (limit := rule.limit(limits)) is not None
        ]
        return max(bounds, default=limits[quality])


def add_percentiles(plans: Sequence[PlanCandidate]) -> None:
    """Predict the latency percentiles of plans."""
    for plan in plans:
        design = plan.composed.design
        parts = design.part_shares(plan.composed.reach)
        plan.composed.costs.update(design.costs.percentiles(parts))


def _shown(built: Sequence[ComposedPlan], quality: str, least: float) -> list[ComposedPlan]:
    """Those of the `built` plans that are listed though others may beat them."""
    rivals = [plan for plan in built if plan.design.rival]
    return rivals + best_routed(built, quality, least)


def best_routed(plans: Sequence[ComposedPlan], quality: str, least: float) -> list[ComposedPlan]:
    """Of each kind of router and scorer the fastest plan that keeps quality; where none does, the
    one that keeps most of it."""
    kinds: dict[str, list[ComposedPlan]] = {}
    for plan in plans:
        if isinstance(plan.design, BuiltRouted):
            kinds.setdefault(plan.design.design.kind, []).append(plan)
    found = []
    for rivals in kinds.values():
        good = [plan for plan in rivals if plan.guarded[quality] >= least]
        if good:
            found.append(min(good, key=lambda plan: plan.costs["latency_mean_ms"]))
        else:
            found.append(max(rivals, key=lambda plan: plan.guarded[quality]))
    return found
