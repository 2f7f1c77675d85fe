"""The report on test data: each reported plan is replayed there once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.planner.selection.breakdowns import Breakdown
from trimtab.planner.selection.evaluation import Interval, PlanEvaluator
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.estimates.targets import Floats
from trimtab.workloads import Item


@dataclass(frozen=True)
class HeldOutReport:
    """A plan on test: `quality` with intervals, `gaps` between validation and test, and where its
    inputs stop."""

    quality: Mapping[str, Interval]
    gaps: Mapping[str, Interval]
    breakdown: Breakdown


class HeldOutReports:
    """Reports of plans, with some of `items` as examples. A plan that is reported is replayed on
    test once; of others the inputs of tune say where they stop."""

    def __init__(self, evaluator: PlanEvaluator, items: Sequence[Item]) -> None:
        self._evaluator, self._items = evaluator, items
        self._known: dict[str, HeldOutReport] = {}
        self._on_tune: dict[str, Breakdown] = {}
        self._costs: dict[str, Mapping[str, float]] = {}
        self._baseline: tuple[str, Floats] | None = None

    def of(self, plan: PlanCandidate, baseline: PlanCandidate) -> HeldOutReport:
        """The report of a plan that is compared with a baseline."""
        if plan.key not in self._known:
            self._known[plan.key] = self._made(plan, baseline)
        return self._known[plan.key]

    def costs(self, plan: PlanCandidate) -> Mapping[str, float]:
        """Costs predicted for the inputs of test, without what bundles of this job taught. What
        the plan answers there is not looked at."""
        if plan.key not in self._costs:
            found = self._evaluator.replayed_on(plan, "test")
            self._costs[plan.key] = self._evaluator.predicted(plan, found)
        return self._costs[plan.key]

    def predicted(self, plan: PlanCandidate) -> dict[str, float]:
        """These costs with what the bundles of other plans taught: the one prediction that is
        shown of a plan, whether its own bundle ran or not."""
        costs = self.costs(plan)
        return {name: value * plan.foreseen_factor(name) for name, value in costs.items()}

    def on_tune(self, plan: PlanCandidate) -> Breakdown:
        """Where the inputs of tune stop."""
        if plan.key not in self._on_tune:
            found = self._evaluator.replayed_on(plan, "tune")
            self._on_tune[plan.key] = Breakdown.of(
                self._evaluator, plan, found, "tune", self._items
            )
        return self._on_tune[plan.key]

    def _made(self, plan: PlanCandidate, baseline: PlanCandidate) -> HeldOutReport:
        evaluator = self._evaluator
        found = evaluator.replayed_on(plan, "test")
        gaps = {}
        if plan.key != baseline.key:
            compared = self._decided(baseline)
            for metric in evaluator.data.quality:
                expected = plan.composed.guarded[metric] - baseline.composed.replayed[metric]
                gap = evaluator.gap(metric, expected, found.decided, compared)
                if gap is not None:
                    gaps[metric] = gap
        return HeldOutReport(
            evaluator.quality(found.decided, "test"),
            gaps,
            Breakdown.of(evaluator, plan, found, "test", self._items),
        )

    def _decided(self, baseline: PlanCandidate) -> Floats:
        if self._baseline is None or self._baseline[0] != baseline.key:
            decided = self._evaluator.replayed_on(baseline, "test").decided
            self._baseline = baseline.key, decided
        return self._baseline[1]
