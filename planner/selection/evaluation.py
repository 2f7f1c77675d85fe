"""What plans answer, by replay, and what they cost, by prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trimtab.planner.jobs.dataset import SplitRows
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.costs.segmented import SegmentedCosts
from trimtab.search.costs.stage import Doubles
from trimtab.search.estimates.cluster_bootstrap import block_interval
from trimtab.search.estimates.metrics import can_tell, known_metrics, quality_metric
from trimtab.search.estimates.targets import Ints, Targets
from trimtab.search.exits.design import Early, Thresholds
from trimtab.search.plans.plan import ComposedPlan, StageOption
from trimtab.search.plans.problem import Problem
from trimtab.search.replay.cascade import Replay, replay
from trimtab.search.replay.stateful import StatefulReplay


class PlanEvaluator:
    """Replays and predictions of judged plans over `options`; `targets` by split. `problem` is
    what plans were composed of, and tells their costs; `early` holds what plans that stop early
    are made of, where there are any. `quality` names metrics to report
    beside those that all targets give."""

    problem: Problem
    early: Early | None = None
    quality: Sequence[str] = ()

    def __init__(
        self,
        rows: SplitRows,
        options: Sequence[StageOption],
        targets: Mapping[str, Targets],
    ) -> None:
        self.rows, self.options, self.targets = rows, options, targets
        self._reports: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {}

    def replayed(self, plan: PlanCandidate, rows: Ints) -> Replay | StatefulReplay:
        """What the plan answers on these inputs, in this order, from an empty memory."""
        if plan.composed.early is not None:
            return self._replayed_early(plan, rows)
        routed = plan.composed.routed
        if routed is None:
            return self.replayed_whole(plan, rows)
        every = [option.probabilities for option in self.options]
        thresholds = plan.composed.thresholds
        return routed.design.replay(every, thresholds, routed.price, rows, routed.exits)

    def replayed_whole(self, plan: PlanCandidate, rows: Ints) -> Replay:
        """What the plan would answer if it never stopped inside a network, nor remembered."""
        stages = [self.options[i].probabilities[rows] for i in plan.composed.options]
        return replay(stages, plan.composed.rule, plan.composed.thresholds)

    def _replayed_early(self, plan: PlanCandidate, rows: Ints) -> StatefulReplay:
        early = plan.composed.early
        assert early is not None
        assert self.early is not None
        thresholds = Thresholds(plan.composed.thresholds, early.exits)
        return self.early.replay(early.design, thresholds, rows)

    def replayed_on(self, plan: PlanCandidate, split: str) -> Replay | StatefulReplay:
        """What the plan answers on a split."""
        rows: Ints = getattr(self.rows, split)
        return self.replayed(plan, rows)

    def report(self, plan: PlanCandidate, split: str) -> dict[str, tuple[float, float, float]]:
        """Each quality metric on a split: value and 95 % interval."""
        known = self._reports.get((plan.key, split))
        if known is None:  # resampling blocks takes its time
            targets, decided = self.targets[split], self.replayed_on(plan, split).decided
            metrics = dict.fromkeys([*known_metrics(targets), *self.quality])
            told = {m: quality_metric(m) for m in metrics if can_tell(targets, m)}
            known = {m: metric.told(targets, decided) for m, metric in told.items()}
            self._reports[plan.key, split] = known
        return known

    def optimism(
        self, plan: PlanCandidate, baseline: PlanCandidate, metric: str
    ) -> tuple[float, float, float] | None:
        """What the guard left of the luck of choosing: the guarded lead over the baseline on
        tune, less the lead on test; with the 95 % interval that test allows. None for the
        baseline itself, and where test cannot tell."""
        if plan is baseline or not can_tell(self.targets["test"], metric):
            return None
        replays = [self.replayed_on(p, "test").decided for p in (plan, baseline)]
        targets = replace(self.targets["test"], around=replays[1].argmax(1))
        judge = quality_metric(metric)
        own, base = (judge.values(targets, decided) for decided in replays)
        lead = judge.told(targets, replays[0])[0] - judge.told(targets, replays[1])[0]
        expected = plan.composed.guarded[metric] - baseline.composed.replayed[metric]
        gain, blocks = own - base, targets.blocks
        half = 1.96 * float(gain.std()) / np.sqrt(len(gain))
        low, high = float(gain.mean()) - half, float(gain.mean()) + half
        if blocks is not None:
            low, high = block_interval(gain, blocks) or (-1.0, 1.0)
        middle = float(gain.mean())
        return expected - lead, expected - lead + middle - high, expected - lead + middle - low

    def predicted_stages(self, plan: PlanCandidate) -> list[tuple[float, float]]:
        """Milliseconds of each stage when it runs, and its share of the plan's mean latency."""
        costs, reach = self._costs(plan), plan.composed.reach
        if isinstance(costs, SegmentedCosts):
            spent = costs.stage_spent_ms(steps_of(plan.composed))
            means = [part / max(share, 1e-9) for part, share in zip(spent, reach, strict=True)]
            whole = costs.step_ms()[0] + sum(spent)
        else:
            means = costs.stage_ms()
            spent = [share * mean for share, mean in zip(reach, means, strict=True)]
            whole = sum(spent)
            if isinstance(costs, RoutedCosts):
                spent = costs.stage_spent_ms(steps_of(plan.composed))
                whole = sum(spent) + costs.router_ms()
        return [(mean, part / whole) for mean, part in zip(means, spent, strict=True)]

    def step_ms(self, plan: PlanCandidate) -> list[float]:
        """Milliseconds of each step of a plan that stops early, when it runs."""
        costs = self._costs(plan)
        assert isinstance(costs, SegmentedCosts)
        return costs.step_ms()

    def predicted(self, plan: PlanCandidate, rows: Ints) -> dict[str, float]:
        """Costs predicted for these very inputs, without what bundles of this job taught."""
        costs, found, routed = self._costs(plan), self.replayed(plan, rows), plan.composed.routed
        if routed is not None:
            assert isinstance(found, Replay)
            return costs.known(routed.design.path_shares(found))
        steps = costs.steps if isinstance(costs, SegmentedCosts) else len(plan.composed.options)
        return costs.known(found.reach(steps))

    def _costs(self, plan: PlanCandidate) -> CascadeCosts | SegmentedCosts | RoutedCosts:
        early, routed = plan.composed.early, plan.composed.routed
        if routed is not None:
            return routed.costs
        if early is None:
            return self.problem.path_costs(plan.composed.options)
        assert self.early is not None
        return self.early.costs(early.design)


def steps_of(plan: ComposedPlan) -> Doubles:
    """The share of inputs that come to each part of a plan whose costs are told apart."""
    if plan.routed is not None:
        return np.array(plan.routed.paths)
    return np.array(plan.reach if plan.early is None else plan.early.steps)
