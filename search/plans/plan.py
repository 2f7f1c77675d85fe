"""What plans are composed of, and what a composed plan is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.targets import Floats
from trimtab_runtime.definitions.plan import PlanDefinition, Stage, Structure

if TYPE_CHECKING:
    from trimtab.search.exits.design import BuiltExits
    from trimtab.search.routing.design import BuiltRouted


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
class ComposedPlan:
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
    early: BuiltExits | None = None
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
