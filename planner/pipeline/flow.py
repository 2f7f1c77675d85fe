"""The flow of every job, on one device or on several: select, verify, and let what bundles
measured have the last word."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from trimtab.db import ExposureRecord, Store
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.decision import why_moved
from trimtab.planner.selection.losses import variant_losses
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.rules import Selection, SelectionRules
from trimtab.planner.selection.ties import Ties
from trimtab.planner.specification.job import JobSpec
from trimtab_runtime.codec import content_key

#: How often the choice may move to a plan that has to be verified first.
ROUNDS = 3


class Verifier(Protocol):
    """Runs bundles. By the keys of plans: which are `verified`, which `failed`, and `pairs` of
    what was predicted and measured, as the selector takes them."""

    @property
    def verified(self) -> Collection[str]: ...

    @property
    def failed(self) -> Collection[str]: ...

    @property
    def pairs(self) -> Any: ...

    def verify(self, plans: Sequence[PlanCandidate]) -> None:
        """Verify those that were not yet."""


class Selector(Protocol):
    """Selects plans, by its `rules` and `ties`."""

    @property
    def rules(self) -> SelectionRules: ...

    @property
    def ties(self) -> Ties: ...

    def confirm(
        self, selection: Selection, pairs: Any, among: Sequence[PlanCandidate]
    ) -> tuple[Selection, Any]:
        """Choose again `among` these plans, with what bundles measured; and what that taught."""


@dataclass(frozen=True)
class Settled:
    """What is chosen in the end, what the selector `learned` of bundles, and why the choice
    `moved`."""

    selection: Selection
    learned: Any
    moved: str = ""


Bundles = TypeVar("Bundles", bound=Verifier)


def settled(
    selection: Selection,
    selector: Selector,
    verifier: Verifier,
    count: int,
    journal: Journal,
) -> Settled:
    """Verify a selection, with `count` plans that span its front, and choose until what is chosen
    was verified."""
    before, plans = selection.chosen, selection.plans
    verifier.verify(selector.rules.to_verify(selection, count))
    for number in range(ROUNDS):
        last = number == ROUNDS - 1
        among = [
            plan
            for plan in plans
            if plan.key in verifier.verified or not (last or plan.key in verifier.failed)
        ]
        selection, learned = selector.confirm(selection, verifier.pairs, among)
        if selection.chosen is None or selection.chosen.key in verifier.verified:
            break
        verifier.verify([selection.chosen])
    moved = ""
    if before is not None:
        after, failed = selection.chosen, verifier.failed
        moved = why_moved(before, after, selection.baseline, failed, selector.ties)
    if before is not None and moved:
        journal.note("warning", before.label, moved)
        moved = f"{before.label}: {moved}"
    return Settled(selection, learned, moved)


class PlanDecision(ABC, Generic[Bundles]):
    """Leaves a verified choice, and all that is known of the plans, in the store."""

    def __init__(
        self, job_id: str, spec: JobSpec, store: Store, journal: Journal, workload_key: str
    ) -> None:
        self.job_id, self.spec, self.store, self.journal = job_id, spec, store, journal
        self._workload_key = workload_key

    def decide(self) -> None:
        """Select, verify, choose again."""
        selection = self.select()
        self.store_plans(selection, None)
        count_exposure(self.store, self.job_id, self._workload_key, selection.plans)
        verifier = self.verifier(selection)
        found = settled(selection, self.selector, verifier, self.spec.verify, self.journal)
        self.store_plans(found.selection, verifier)
        self.conclude(found, verifier)

    @property
    @abstractmethod
    def selector(self) -> Selector:
        """What chooses again."""

    @abstractmethod
    def select(self) -> Selection:
        """Measure together and select, before any bundle ran."""

    @abstractmethod
    def verifier(self, selection: Selection) -> Bundles:
        """What runs bundles of the plans that were selected."""

    @abstractmethod
    def store_plans(self, selection: Selection, verifier: Bundles | None) -> None:
        """Replace the job's plans and their figures; with what bundles measured, once any ran."""

    @abstractmethod
    def conclude(self, found: Settled, verifier: Bundles) -> None:
        """Keep what was found in the job's summary."""


def selection_summary(
    selection: Selection, data: SelectionData, moved: str, predicted_ms: Mapping[int, float]
) -> JobSummary:
    """What was selected, for the job's summary, and why the choice `moved`. `predicted_ms` are
    latencies of options alone."""
    return {
        "moved": moved,
        "plans": len(selection.plans),
        "chosen": selection.chosen.key if selection.chosen else None,
        "nearest": selection.nearest.key if selection.nearest else None,
        "baseline": selection.baseline.key,
        "quality": list(data.quality),
        "objectives": [objective.metric for objective in data.objectives],
        "reference_ms": data.reference_ms,
        "losses": variant_losses(data, predicted_ms),
    }


def predicted_alone(
    selection: Selection, predicted_ms: Callable[[PlanCandidate], float]
) -> dict[int, float]:
    """What is predicted of options that are plans by themselves, by their numbers."""
    return {
        plan.composed.options[0]: predicted_ms(plan)
        for plan in selection.plans
        if len(plan.composed.options) == 1 and plan.composed.design.kind == "cascade"
    }


def count_exposure(
    store: Store, job_id: str, workload_key: str, plans: Sequence[PlanCandidate]
) -> None:
    """Count a report on the test set; the same report of a job that is resumed, or runs again,
    counts once."""
    reason = f"report {content_key(sorted(plan.key for plan in plans))[:12]}"
    seen = store.list_exposures(workload_key=workload_key)
    if not any((look.job_id, look.reason) == (job_id, reason) for look in seen):
        store.add_exposure(ExposureRecord(job_id, workload_key, "test", reason, len(plans)))
