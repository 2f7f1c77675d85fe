"""Evaluates plans: answers by replay, costs by prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.estimates.cluster_bootstrap import block_interval
from trimtab.search.estimates.metrics import can_tell, known_metrics, quality_metric
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.replay.cascade import Replay, replay
from trimtab.search.replay.stateful import StatefulReplay

#: A value with its 95 % interval.
Interval = tuple[float, float, float]


class PlanEvaluator:
    """Replays and predictions of plans over the options of `data`."""

    def __init__(self, data: SelectionData) -> None:
        self.data = data

    def replayed(self, plan: PlanCandidate, rows: Ints) -> Replay | StatefulReplay:
        """What the plan answers on these inputs, in this order, from an empty memory."""
        return plan.composed.design.replay(plan.composed.thresholds, rows)

    def replayed_whole(self, plan: PlanCandidate, rows: Ints) -> Replay:
        """What the plan would answer if it never stopped inside a network, nor remembered."""
        stages = [self.data.options[i].probabilities[rows] for i in plan.composed.options]
        return replay(stages, plan.composed.rule, plan.composed.thresholds)

    def replayed_on(self, plan: PlanCandidate, split: str) -> Replay | StatefulReplay:
        """What the plan answers on a split."""
        rows: Ints = getattr(self.data.rows, split)
        return self.replayed(plan, rows)

    def quality(self, decided: Floats, split: str) -> dict[str, Interval]:
        """Each quality metric of what was `decided` (inputs, classes) on a split."""
        targets = self.data.targets[split]
        metrics = dict.fromkeys([*known_metrics(targets), *self.data.quality])
        judges = {m: quality_metric(m) for m in metrics if can_tell(targets, m)}
        return {m: judge.told(targets, decided) for m, judge in judges.items()}

    def gap(
        self, metric: str, expected: float, decided: Floats, baseline: Floats
    ) -> Interval | None:
        """The gap between validation and test: the lead over the baseline that was `expected` of
        tune (what the plan's conservative estimate left), less the lead on test of what the two
        `decided` there; with the 95 % interval that test allows. None where test cannot tell."""
        targets = self.data.targets["test"]
        if not can_tell(targets, metric):
            return None
        around = replace(targets, around=baseline.argmax(1))
        judge = quality_metric(metric)
        own, base = judge.values(around, decided), judge.values(around, baseline)
        lead = judge.told(around, decided)[0] - judge.told(around, baseline)[0]
        gain, blocks = own - base, targets.blocks
        middle = float(gain.mean())
        half = 1.96 * float(gain.std()) / np.sqrt(len(gain))
        low, high = middle - half, middle + half
        if blocks is not None:
            low, high = block_interval(gain, blocks) or (-1.0, 1.0)
        return expected - lead, expected - lead + middle - high, expected - lead + middle - low

    def stage_times(self, plan: PlanCandidate) -> list[tuple[float, float]]:
        """Milliseconds of each stage when it runs, and its share of the plan's mean latency."""
        composed = plan.composed
        parts = composed.design.part_shares(composed.reach)
        return composed.design.costs.stage_times(composed.reach, parts)

    def predicted(self, plan: PlanCandidate, found: Replay | StatefulReplay) -> dict[str, float]:
        """Costs predicted for the inputs of a replay, without what bundles of this job taught."""
        design = plan.composed.design
        return design.costs.known(design.replayed_shares(found))
