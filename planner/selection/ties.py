"""The simplest of equals: plans that differ by less than they are known to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.estimates.guard import Guard
from trimtab.search.estimates.metrics import quality_metric
from trimtab.search.estimates.paired_times import Known
from trimtab_runtime.definitions.exits import NO_MEMORY
from trimtab_runtime.metrics import find_metric

#: What predictions of a latency may be off by, and figures of any other cost: relative to it.
PREDICTED, FIGURE = 0.05, 0.02
#: Memory of this much more is more.
MEMORY = 1.05
_ROUNDING = 1e-9
_LATENCY, _MEMORY_MB = "latency_mean_ms", "peak_memory_mb"


def simplicity(plan: PlanCandidate) -> tuple[int, int, int, float]:
    """What makes a plan more than another, the weightiest first: stages (a router is one more),
    state from frame to frame and exits, threads that are kept spinning, and memory, in steps of
    5 %; unknown is most."""
    structure = plan.definition.structure
    memory_mb = plan.costs.get(_MEMORY_MB)
    return (
        len(structure.stages) + (structure.router is not None),
        2 * (structure.memory != NO_MEMORY) + bool(structure.taps),
        sum(stage.options.spinning for stage in structure.stages),
        round(math.log(memory_mb) / math.log(MEMORY)) if memory_mb else math.inf,
    )


class Ties(ABC):
    """Says which plans cannot be told apart, on tune."""

    @abstractmethod
    def as_good(self, plan: PlanCandidate, other: PlanCandidate) -> bool:
        """Whether the plan is worse than the other by its standard error at most."""

    @abstractmethod
    def as_cheap(self, plan: PlanCandidate, other: PlanCandidate) -> bool:
        """Whether the plan is not known to cost more than the other."""

    @abstractmethod
    def slower(self, plan: PlanCandidate) -> bool:
        """Whether the plan took longer than the baseline in the same turns."""

    @abstractmethod
    def faster(self, plan: PlanCandidate, other: PlanCandidate) -> Known | None:
        """How many times as fast as the other the plan is, by turns; None where it took none."""

    def simplest(
        self, first: PlanCandidate, among: Sequence[PlanCandidate]
    ) -> tuple[PlanCandidate, str]:
        """The simplest of those plans that cannot be told from the `first`, which would be chosen
        otherwise, and why it is preferred ('' where it is the first itself). `among` is by cost:
        of equally simple ones one that ran in turns is taken, then the cheapest."""
        simpler = [p for p in among if _rank(p) < _rank(first)]
        equals = [p for p in simpler if self.as_cheap(p, first) and not self.slower(p)]
        for plan in sorted(equals, key=_rank):
            if self.as_good(plan, first):
                return plan, self._told(plan, first)
        return first, ""

    def _told(self, plan: PlanCandidate, other: PlanCandidate) -> str:
        words = ("fewer stages", "less state", "fewer threads that busy-wait", "less memory")
        pairs = zip(words, simplicity(plan), simplicity(other), strict=True)
        less = next((word for word, own, its in pairs if own < its), "figures from a bundle")
        known, cost = self.faster(plan, other), "predicted"
        if known is not None:
            cost = f"{known.value:.2f}x as fast in turns, 95 % {known.low:.2f} to {known.high:.2f}"
        return (
            f"preferred to {other.label} ({other.key[:8]}): in quality on validation data and in "
            f"cost ({cost}) it is not known to be worse, and it has {less}"
        )


def _rank(plan: PlanCandidate) -> tuple[Any, ...]:
    return (*simplicity(plan), not plan.took_turns)


@dataclass(frozen=True)
class DeviceTies(Ties):
    """On one device. `quality` and `cost` name the metrics that decide."""

    evaluator: PlanEvaluator
    guard: Guard
    quality: str
    cost: str

    def as_good(self, plan: PlanCandidate, other: PlanCandidate) -> bool:
        judge, targets = quality_metric(self.quality), self.guard.targets
        own, its = (self.evaluator.replayed_on(each, "tune").decided for each in (plan, other))
        early = any(p.composed.design.kind == "exits" for p in (plan, other))
        for values in (judge.values,) if early else (judge.values, judge.expected):
            lost = values(targets, its) - values(targets, own)
            if lost.any() and lost.mean() > self.guard.error(lost) * (1 + 1e-6):
                return False
        return True

    def as_cheap(self, plan: PlanCandidate, other: PlanCandidate) -> bool:
        known = self.faster(plan, other)
        by_latency = find_metric(self.cost).corrected_by == _LATENCY
        if by_latency and known is not None:
            return known.high >= 1.0 - _ROUNDING
        margin = PREDICTED if by_latency else FIGURE
        return plan.values[self.cost] <= other.values[self.cost] * (1 + margin) + _ROUNDING

    def slower(self, plan: PlanCandidate) -> bool:
        if plan.paired is None or find_metric(self.cost).corrected_by != _LATENCY:
            return False
        return plan.paired.speedup["tune"].value < 1.0

    def faster(self, plan: PlanCandidate, other: PlanCandidate) -> Known | None:
        if plan.paired is None or other.paired is None:
            return None
        return plan.paired.faster_than(other.key, other.paired)
