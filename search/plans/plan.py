"""A composed plan: a design at one operating point, with what is expected of it."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.search.plans.design import PlanDesign
from trimtab_runtime.definitions.plan import PlanDefinition


@dataclass(frozen=True)
class ComposedPlan:
    """A plan over numbered options, with what is expected of it: quality on tune as `replayed`
    and `guarded` (see guard.py), and predicted `costs`. `reach` is the share of inputs that comes
    to each stage."""

    options: tuple[int, ...]
    rule: str
    thresholds: tuple[float, ...]
    reach: tuple[float, ...]
    replayed: dict[str, float]
    guarded: dict[str, float]
    costs: dict[str, float]
    design: PlanDesign

    @property
    def definition(self) -> PlanDefinition:
        """The plan itself."""
        return self.design.definition(self.thresholds)

    @property
    def values(self) -> dict[str, float]:
        """The values that selection uses: conservative estimates and predicted costs."""
        return {**self.costs, **self.guarded}
