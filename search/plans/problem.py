"""The problem of composing plans: options, validation rows, objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Correction
from trimtab.search.estimates.guard import Guard
from trimtab.search.estimates.targets import Ints
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.option import StageOption


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
    together: Mapping[tuple[int, ...], CascadeCosts] | None = None
    correction: Correction = field(default_factory=Correction)

    def path_costs(self, stages: tuple[int, ...]) -> CascadeCosts:
        """What the stages cost, as well as it is known."""
        known = (self.together or {}).get(stages)
        costs = [self.options[index].cost for index in stages]
        return known or CascadeCosts(costs, correction=self.correction)
