"""The rules of selection: which plans are feasible, on the front, and chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.ties import Ties
from trimtab.search.estimates.guard import EARLY_CAUTION
from trimtab.search.objectives.constraints import Constraint, feasible, shortfall
from trimtab.search.objectives.objective import Objective
from trimtab.search.objectives.pareto import non_dominated, spread
from trimtab.search.plans.cascades import front
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric

#: Plans of the front that are judged, kept and shown.
FRONT_SIZE = 100
#: What a plan that stops early must cost at most, relative to the baseline, to be chosen.
WORTHWHILE = 0.97


@dataclass(frozen=True)
class Selection:
    """The plans of a job, by latency. `swept` are all that they were selected from. Where none is
    chosen, `nearest` is the one to look at."""

    plans: Sequence[PlanCandidate]
    swept: Sequence[ComposedPlan]
    baseline: PlanCandidate
    nearest: PlanCandidate | None

    @property
    def chosen(self) -> PlanCandidate | None:
        """The plan to ship; None when the constraints allow none."""
        return next((plan for plan in self.plans if plan.is_chosen), None)


@dataclass(frozen=True)
class SelectionRules:
    """What a specification asks of plans. `quality` is the metric in which a plan must not be
    worse than the baseline, unless a constraint bounds a quality."""

    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    quality: str

    def choose(
        self,
        plans: Sequence[PlanCandidate],
        baseline: PlanCandidate,
        among: Sequence[PlanCandidate],
        ties: Ties | None = None,
    ) -> PlanCandidate | None:
        """Judge every one of `plans`; the cheapest good one `among` them is chosen, or the
        simplest of those that `ties` cannot tell from it (`preferred` says why). Where there is
        none, returns the one that comes nearest, with its reasons."""
        eligible, good = {plan.key for plan in among}, self.good(plans, baseline)
        first = next((plan for plan in good if plan.key in eligible), None)
        if first is not None:
            chosen, why = first, ""
            if ties is not None:
                rivals = [p for p in plans if self._allowed(p, baseline) and p.key in eligible]
                rivals.sort(key=lambda plan: plan.values[self.cost])
                chosen, why = ties.simplest(first, rivals)
            chosen.is_chosen, chosen.preferred = True, why
            return None
        if good:
            good[0].reasons.append(
                "no plan that meets all rules could be verified; this one comes next"
            )
            return good[0]
        meeting = [plan for plan in plans if plan.feasible == "yes"]
        if meeting:
            best = max(meeting, key=lambda plan: plan.values[self.quality])
            best.reasons.append(
                f"all plans that meet the constraints have a lower {self.quality} than the "
                f"baseline; this one is closest. To allow it, add a constraint on {self.quality}"
            )
            return best
        limits = _limits(baseline)
        nearest = min(plans, key=lambda p: shortfall(self.constraints, p.values, limits))
        nearest.reasons.append("no plan meets the constraints; this one comes nearest")
        return nearest

    def worthy(self, plans: Sequence[ComposedPlan], baseline: ComposedPlan) -> list[ComposedPlan]:
        """What is worth judging: the front, and the front of what meets the constraints, or comes
        nearest. Raises PlanningError where an objective is known of none."""
        limits = {**baseline.costs, **baseline.replayed}
        allowed = [p for p in plans if feasible(self.constraints, p.values, limits) == "yes"]
        path = front(plans, self.objectives) + front(allowed, self.objectives)
        if not allowed:
            path.append(min(plans, key=lambda p: shortfall(self.constraints, p.values, limits)))
        if not path:
            unknown = [o.metric for o in self.objectives if o.metric not in plans[0].values]
            raise PlanningError(f"{', '.join(unknown)} could not be measured on this device")
        return path

    def good(self, plans: Sequence[PlanCandidate], baseline: PlanCandidate) -> list[PlanCandidate]:
        """Judge `plans`; those that may be chosen, the cheapest first."""
        limits = _limits(baseline)
        for plan in plans:
            plan.is_chosen, plan.preferred = False, ""
            plan.feasible = feasible(self.constraints, plan.values, limits)
            plan.reasons = [
                c.missed(plan.values, limits)
                for c in self.constraints
                if c.check(plan.values, limits) != "yes"
            ] + [plan.certificate] * (not plan.certified)
            if not self._pays(plan, baseline):
                plan.reasons.append(
                    f"it saves less than {1 - WORTHWHILE:.0%} of the baseline's {self.cost}, "
                    "which is within measurement and sampling error"
                )
        allowed = [p for p in plans if self._allowed(p, baseline)]
        good = [p for p in allowed if self._is_good(p, baseline)]
        return sorted(good, key=lambda plan: (plan.values[self.cost], -plan.values[self.quality]))

    def chosen_again(
        self, selection: Selection, among: Sequence[PlanCandidate], ties: Ties
    ) -> Selection:
        """The same plans, with what is known of them now: judged, chosen `among` these."""
        plans = selection.plans
        nearest = self.choose(plans, selection.baseline, among, ties)
        self.mark_front(plans)
        return replace(selection, nearest=nearest)

    def to_verify(self, selection: Selection, count: int) -> list[PlanCandidate]:
        """The chosen plan, the cheapest that might be, the baseline, what others must be compared
        with, and `count` more at most that span the front."""
        cheapest = self.cheapest(selection.plans, selection.baseline)
        always = [p for p in (selection.chosen, cheapest, selection.baseline) if p is not None]
        always += [plan for plan in selection.plans if plan.composed.design.rival]
        ahead = [plan for plan in selection.plans if plan.on_front]
        spanning = self.spanning(ahead, count)
        return list({plan.key: plan for plan in [*always, *spanning]}.values())

    def cheapest(
        self, plans: Sequence[PlanCandidate], baseline: PlanCandidate
    ) -> PlanCandidate | None:
        """The cheapest of plans, already judged, that may be chosen; None where none may."""
        good = [p for p in plans if self._allowed(p, baseline) and self._is_good(p, baseline)]
        return min(good, key=lambda plan: plan.values[self.cost], default=None)

    def _allowed(self, plan: PlanCandidate, baseline: PlanCandidate) -> bool:
        """Whether nothing that was asked for speaks against a plan that was judged."""
        return plan.feasible == "yes" and plan.certified and self._pays(plan, baseline)

    @property
    def cost(self) -> str:
        """The metric by which the cheapest is told."""
        names = (o.metric for o in self.objectives)
        return next((n for n in names if find_metric(n).kind == "cost"), "latency_mean_ms")

    def _is_good(self, plan: PlanCandidate, baseline: PlanCandidate) -> bool:
        bounded = any(find_metric(c.metric).kind == "quality" for c in self.constraints)
        least = baseline.composed.replayed[self.quality]
        return plan is baseline or bounded or plan.values[self.quality] >= least

    def _pays(self, plan: PlanCandidate, baseline: PlanCandidate) -> bool:
        """Whether a plan that stops early is worth its state: what it saves must be more than
        measurements err by, and more than the luck of these frames, judged as quality is."""
        spread_ms = plan.composed.design.latency_error_ms
        if spread_ms is None:
            return True
        error = spread_ms / plan.composed.costs["latency_mean_ms"]
        lucky = 1.0 + EARLY_CAUTION * error
        return plan.values[self.cost] * lucky <= WORTHWHILE * baseline.values[self.cost]

    def mark_front(self, plans: Sequence[PlanCandidate]) -> None:
        """The front is that of the feasible plans; of all, where none is feasible."""
        allowed = [plan for plan in plans if plan.feasible == "yes"] or plans
        for plan in plans:
            plan.on_front = False
        for plan, keep in zip(allowed, non_dominated(self._costs(allowed)), strict=True):
            plan.on_front = bool(keep)

    def spanning(self, plans: Sequence[PlanCandidate], count: int) -> list[PlanCandidate]:
        """At most `count` plans that span a front, the extremes first."""
        if not plans or not count:
            return []
        return [plans[index] for index in spread(self._costs(plans), count)]

    def thinned(
        self, plans: Sequence[PlanCandidate], nearest: PlanCandidate | None
    ) -> list[PlanCandidate]:
        """Single stages, the chosen or the nearest plan, and FRONT_SIZE of the front; by
        latency."""
        ahead = [plan for plan in plans if plan.on_front]
        kept = {plan.key for plan in self.spanning(ahead, FRONT_SIZE)}
        found = [
            plan
            for plan in plans
            if plan.key in kept
            or plan.is_chosen
            or plan is nearest
            or len(plan.composed.options) == 1
        ]
        return sorted(found, key=lambda plan: plan.composed.costs["latency_mean_ms"])

    def _costs(
        self, plans: Sequence[PlanCandidate]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        rows = [[o.cost(plan.values[o.metric]) for o in self.objectives] for plan in plans]
        return np.array(rows, np.float64).reshape(len(plans), len(self.objectives))


def _limits(baseline: PlanCandidate) -> dict[str, float]:
    """What constraints compare with: the baseline's costs, and its quality as replayed."""
    return {**baseline.values, **baseline.composed.replayed}
