"""What a technique is: it makes variants of members, or plans, or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trimtab.db import MeasurementRecord
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.candidates.evaluator import CandidateEvaluator, VariantMaker
from trimtab.planner.candidates.stages import visit_of
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.selection.selector import Screening
from trimtab.planner.specification.sections import TechniqueSpec
from trimtab.planner.techniques.exit_points.taps import TapPreparation
from trimtab.search.costs.base import PlanCosts
from trimtab.search.costs.stage import mean_values
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.definitions.plan import Structure


@dataclass(kw_only=True)
class BuiltDesign:
    """A design with the files it is built of, to be measured as it is."""

    structure: Structure
    parts: list[StageSetup]

    @property
    @abstractmethod
    def text(self) -> str:
        """A few words for people."""


Built = TypeVar("Built", bound=BuiltDesign)
Costs = TypeVar("Costs", bound=PlanCosts)


class PlanGenerator(ABC, Generic[Built, Costs]):
    """Generates plans of one technique for a job, from what its screening said."""

    @abstractmethod
    def designs(self) -> list[Built]:
        """Search on tune, and build the best designs and those that they must be compared with."""

    @abstractmethod
    def costs(self, built: Built, visits: Sequence[MeasurementRecord]) -> Costs:
        """What a built design costs, measured as it is in several `visits`."""

    @abstractmethod
    def plans(self, measured: Sequence[tuple[Built, Costs]]) -> list[ComposedPlan]:
        """Operating points of the designs that could be measured."""

    @abstractmethod
    def summary(self) -> JobSummary:
        """What came of it, for the job's summary."""


@dataclass(frozen=True)
class Technique:
    """An entry of the registry in :mod:`trimtab.planner.techniques`. `wanted` says whether a
    specification switches it on; `variants` make variants of members, `plans` generate plans."""

    wanted: Callable[[TechniqueSpec], bool]
    variants: Callable[[CandidateEvaluator], VariantMaker] | None = None
    plans: (
        Callable[[CandidateEvaluator, Screening, TapPreparation], PlanGenerator[Any, Any]] | None
    ) = None


def process_values(visits: Sequence[MeasurementRecord]) -> dict[str, float]:
    """The values of a process that held a whole plan, averaged over visits: those that all visits
    know."""
    return mean_values([visit_of(visit) for visit in visits])
