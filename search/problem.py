"""What plans are composed of, what they are composed for, and what a composed plan is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from search.correction import Correction
from search.costs import PathCosts, StageCost
from search.guard import Guard
from search.quality import Floats, Ints
from trimtab_runtime.definition import PlanDefinition, Stage, Structure
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    from search.early import BuiltEarly
    from search.routed import BuiltRouted


@dataclass(frozen=True)
class StageOption:
    """A traced and measured variant with its options: something that can be a stage.

    `probabilities` (inputs, classes) are calibrated and cover the whole workload. `alone` marks
    options that only a plan of one stage may use (spinning threads).
    """

    name: str
    stage: Stage
    cost: StageCost
    probabilities: Floats
    alone: bool = False


@dataclass(frozen=True)
class Objective:
    """A metric to be maximised or minimised, as metrics.py says."""

    metric: str

    def cost(self, value: float) -> float:
        """The value as something to be minimised."""
        return -value if find_metric(self.metric).maximise else value


@dataclass(frozen=True)
class Composed:
    """A plan over numbered options, with what is expected of it: quality on tune as `replayed`
    and `guarded` (see guard.py), and predicted `costs`. `early` says how it stops early, where it
    does, `routed` how inputs are routed; `reach` counts stages all the same."""

    options: tuple[int, ...]
    rule: str
    thresholds: tuple[float, ...]
    reach: tuple[float, ...]
    replayed: dict[str, float]
    guarded: dict[str, float]
    costs: dict[str, float]
    early: BuiltEarly | None = None
    routed: BuiltRouted | None = None

    def definition(self, options: Sequence[StageOption]) -> PlanDefinition:
        """The plan itself."""
        if self.early is not None:
            return PlanDefinition(self.early.structure, self.thresholds, self.early.exits)
        if self.routed is not None:
            return self.routed.definition(self.thresholds)
        stages = tuple(options[index].stage for index in self.options)
        route = "single" if len(stages) == 1 else "cascade"
        return PlanDefinition(Structure(route, stages, self.rule), self.thresholds)

    @property
    def values(self) -> dict[str, float]:
        """What decides: guarded quality and predicted costs."""
        return {**self.costs, **self.guarded}

    @property
    def rival(self) -> str:
        """What a plan is called that others are compared with; '' for any other."""
        if self.early is not None:
            return self.early.design.label
        return "" if self.routed is None else self.routed.rival


@dataclass(frozen=True)
class Problem:
    """What is searched: options, the rows `tune` (indices into the workload) with the guard that
    judges on them, the quality metrics wanted of every plan, the objectives, and whether latency
    percentiles are wanted.

    `together` holds the costs of stages that were measured together, the options of cascades in
    order; where it is given, other cascades are left out. The rest is composed of single
    measurements, with the `correction` of this device.
    """

    options: Sequence[StageOption]
    tune: Ints
    guard: Guard
    metrics: Sequence[str]
    objectives: Sequence[Objective]
    percentiles: bool = False
    max_stages: int = 3
    together: Mapping[tuple[int, ...], PathCosts] | None = None
    correction: Correction = field(default_factory=Correction)

    def path_costs(self, stages: tuple[int, ...]) -> PathCosts:
        """What the stages cost, as well as it is known."""
        known = (self.together or {}).get(stages)
        costs = [self.options[index].cost for index in stages]
        return known or PathCosts(costs, correction=self.correction)
