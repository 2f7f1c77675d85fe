"""Plans over several devices, selected by their worst case.

A plan is one structure with one set of thresholds, calibrated as on the first device, replayed on
what its variants said on each device, and priced with what was measured there. Its quality is
that of the device where it is lowest, its costs are those of the device where they are highest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.planner.pipeline.multi_device.plans import JointPlan, joint, worst_case
from trimtab.planner.selection.corrections import correct
from trimtab.planner.selection.data import SelectionData, alone_ms
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.rules import FRONT_SIZE, Selection
from trimtab.planner.selection.selector import PlanSelector, add_percentiles
from trimtab.planner.selection.ties import Ties
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Pair
from trimtab.search.estimates.paired_times import Known
from trimtab.search.plans.cascades import Sweeps, compose
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.plans.problem import Problem

Group = tuple[int, ...]


class JointSelector:
    """Selects among plans on all devices; `selectors` are those of the devices, with the same
    options in the same order, the same members and the same baseline."""

    def __init__(self, selectors: Sequence[PlanSelector]) -> None:
        self._selectors, self.rules = selectors, selectors[0].rules
        self._baseline = (selectors[0].data.baseline,)
        self.ties = JointTies([selector.ties for selector in selectors])

    def screen(self, count: int) -> list[Group]:
        """At most `count` groups of options worth measuring together, as PlanSelector.screen finds
        them."""
        problems = [selector.problem(None) for selector in self._selectors]
        plans = self._joint(problems, [selector.proposed() for selector in self._selectors])
        baseline = self.baseline_of(plans)
        cheapest = dict.fromkeys(p.composed.options for p in self.rules.good(plans, baseline))
        self.rules.mark_front(plans)
        ahead = self.rules.spanning([plan for plan in plans if plan.on_front], FRONT_SIZE)
        found = dict.fromkeys([baseline.composed.options, *list(cheapest)[: count // 2]])
        found |= dict.fromkeys(plan.composed.options for plan in ahead)
        return list(found)[:count]

    def select(self, together: Sequence[Mapping[Group, CascadeCosts]]) -> Selection:
        """Compose of what was measured together on each device, judge and choose."""
        problems = [
            selector.problem(costs)
            for selector, costs in zip(self._selectors, together, strict=True)
        ]
        plans = self._joint(problems, [compose(problem) for problem in problems])
        baseline = self.baseline_of(plans)
        nearest = self.rules.choose(plans, baseline, plans, self.ties)
        self.rules.mark_front(plans)
        kept = {plan.key for plan in self.rules.thinned(plans, nearest)}
        found = [plan for plan in plans if plan.key in kept]
        for plan in found:
            add_percentiles(plan.parts)
        found.sort(key=lambda plan: plan.costs["latency_mean_ms"])
        return Selection(found, (), baseline, nearest)

    def confirm(
        self,
        selection: Selection,
        pairs: Sequence[Mapping[str, Mapping[str, Pair]]],
        among: Sequence[PlanCandidate],
    ) -> tuple[Selection, None]:
        """Choose again `among` these plans, with what bundles measured on each device. What is
        learned of it stays with the plans."""
        for number, selector in enumerate(self._selectors):
            parts = [plan.parts[number] for plan in joint(selection.plans)]
            correct(parts, pairs[number], selector.data.correction)
        return self.rules.chosen_again(selection, among, self.ties), None

    def baseline_of(self, plans: Sequence[JointPlan]) -> JointPlan:
        """The plan that others are compared with."""
        return next(plan for plan in plans if plan.composed.options == self._baseline)

    def _joint(
        self, problems: Sequence[Problem], proposals: Sequence[Sequence[ComposedPlan]]
    ) -> list[JointPlan]:
        """What the devices propose, on all of them: single stages, and what is worth judging."""
        wanted: dict[tuple[Group, str], dict[tuple[float, ...], None]] = {}
        for plan in (plan for plans in proposals for plan in plans):
            wanted.setdefault((plan.options, plan.rule), {})[plan.thresholds] = None
        columns = []
        for problem in problems:
            sweeps = Sweeps(problem)
            columns.append(
                [p for (s, rule), points in wanted.items() for p in sweeps.at(s, rule, [*points])]
            )
        rows = list(zip(*columns, strict=True))
        cases = [worst_case(parts) for parts in rows]
        singles = [case for case in cases if len(case.options) == 1]
        baseline = next(case for case in singles if case.options == self._baseline)
        chosen = {id(case) for case in [*singles, *self.rules.worthy(cases, baseline)]}
        return [
            self._candidate(case, parts)
            for case, parts in zip(cases, rows, strict=True)
            if id(case) in chosen
        ]

    def _candidate(self, case: ComposedPlan, parts: Sequence[ComposedPlan]) -> JointPlan:
        on_each = [
            selector.candidate(part) for selector, part in zip(self._selectors, parts, strict=True)
        ]
        first = on_each[0]
        return JointPlan(
            case,
            first.definition,
            first.label,
            is_baseline=first.is_baseline,
            parts=on_each,
        )


@dataclass(frozen=True)
class JointTies(Ties):
    """On all devices: what holds on each of them (`devices`)."""

    devices: Sequence[Ties]

    def as_good(self, plan: PlanCandidate, other: PlanCandidate) -> bool:
        return all(ties.as_good(own, its) for ties, own, its in self._parts(plan, other))

    def as_cheap(self, plan: PlanCandidate, other: PlanCandidate) -> bool:
        return all(ties.as_cheap(own, its) for ties, own, its in self._parts(plan, other))

    def slower(self, plan: PlanCandidate) -> bool:
        return any(ties.slower(own) for ties, own, _ in self._parts(plan, plan))

    def faster(self, plan: PlanCandidate, other: PlanCandidate) -> Known | None:
        found = [ties.faster(own, its) for ties, own, its in self._parts(plan, other)]
        known = [ratio for ratio in found if ratio is not None]
        return min(known, key=lambda ratio: ratio.value) if len(known) == len(found) else None

    def _parts(
        self, plan: PlanCandidate, other: PlanCandidate
    ) -> list[tuple[Ties, PlanCandidate, PlanCandidate]]:
        own, its = joint([plan, other])
        return list(zip(self.devices, own.parts, its.parts, strict=True))


def agreed_baseline(
    devices: Sequence[SelectionData], named: str | None
) -> tuple[Sequence[int], int]:
    """The same members and the same baseline everywhere, by their worst case."""

    def slowest_ms(index: int) -> float:
        return max(alone_ms(data.options[index]) for data in devices)

    def rank(index: int) -> tuple[float, float]:
        return -min(data.capability(index) for data in devices), slowest_ms(index)

    fastest = dict[str, int]()
    for index, found in enumerate(devices[0].measured):
        candidate = found.candidate
        if candidate.form.is_original:
            rival = fastest.setdefault(candidate.member, index)
            fastest[candidate.member] = min(rival, index, key=slowest_ms)
    allowed = [index for name, index in fastest.items() if named in (None, name)]
    return list(fastest.values()), min(allowed, key=rank)
