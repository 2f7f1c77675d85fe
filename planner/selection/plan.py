"""A plan in selection."""

from __future__ import annotations

from dataclasses import dataclass, field

from trimtab.planner.selection.paired import PairedFigures
from trimtab.search.objectives.constraints import Answer
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.definitions.plan import PlanDefinition
from trimtab_runtime.metrics import find_metric


@dataclass
class PlanCandidate:
    """A plan with what was decided of it. `factors` are what verified bundles taught: measured
    costs relative to predicted ones, by metric; `foreseen` the same of the bundles of other plans
    alone. `certificate` says how often it may disagree with
    its full network, where that was asked; it cannot be chosen unless it is `certified`."""

    composed: ComposedPlan
    definition: PlanDefinition
    label: str
    feasible: Answer = "unknown"
    is_baseline: bool = False
    on_front: bool = False
    is_chosen: bool = False
    reasons: list[str] = field(default_factory=list)
    factors: dict[str, float] = field(default_factory=dict)
    foreseen: dict[str, float] = field(default_factory=dict)
    certificate: str = ""
    certified: bool = True
    paired: PairedFigures | None = None
    preferred: str = ""

    @property
    def key(self) -> str:
        return self.definition.key

    @property
    def costs(self) -> dict[str, float]:
        """Predicted costs, corrected."""
        return {name: value * self.factor(name) for name, value in self.composed.costs.items()}

    @property
    def values(self) -> dict[str, float]:
        """The values that selection uses: conservative estimates, corrected predicted costs."""
        return {**self.costs, **self.composed.guarded}

    @property
    def took_turns(self) -> bool:
        """Whether its bundle ran in turns with others."""
        return self.paired is not None

    @property
    def is_reported(self) -> bool:
        """Whether test is replayed for it."""
        return self.on_front or self.is_baseline or self.is_chosen

    def foreseen_factor(self, metric: str) -> float:
        """By what a prediction of this metric is multiplied that knows other bundles, and not the
        plan's own."""
        return self.foreseen.get(find_metric(metric).corrected_by, 1.0)

    def factor(self, metric: str) -> float:
        """Measured relative to predicted, of this metric or of the one whose factor it takes."""
        return self.factors.get(find_metric(metric).corrected_by, 1.0)
