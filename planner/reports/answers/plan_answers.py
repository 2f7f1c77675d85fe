"""What plans answer on `test`, input by input: replayed from traces, or as their bundles did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.db import JobRecord, PlanRecord, Store
from trimtab.planner.reports.answers.inputs import Ints, TestInputs
from trimtab.planner.reports.answers.replay import StoredPlan
from trimtab.planner.reports.answers.traces import StoredTraces
from trimtab.planner.reports.plan.confusions import ConfusionView, confusion_view
from trimtab.planner.selection.breakdowns import answer_counts
from trimtab.search.estimates.cluster_bootstrap import block_interval
from trimtab_runtime.errors import PlanningError, StoreError


@dataclass(frozen=True)
class PlanAnswers:
    """What a plan says on the inputs of test, (n,) each: the class (None: not known), whether it
    is `right` (None without labels). `source` is 'replayed' or 'measured'."""

    answer: Ints | None
    right: NDArray[np.bool_] | None
    source: str


def plan_answers(
    store: Store, job: JobRecord, plan: PlanRecord, inputs: TestInputs
) -> PlanAnswers:
    """What a plan says on the inputs of test: replayed as the plan is, with its router, scorers
    and what answers inside its stages. Where the store does not hold all that this needs, the
    bundle of a verified plan may have told what is right. Raises PlanningError where neither is
    known."""
    try:
        found = StoredPlan.of(plan, StoredTraces(store, job, inputs), inputs).replay()
    except (PlanningError, StoreError) as error:
        right = _measured(store, job, plan, inputs)
        if right is None:
            raise PlanningError(f"what it says input by input is not known: {error}") from error
        return PlanAnswers(None, right, "measured")
    return PlanAnswers(
        found.answer, None if inputs.labels is None else found.answer == inputs.labels, "replayed"
    )


@dataclass(frozen=True)
class Agreement:
    """On how many of `count` inputs which of two plans is right."""

    both_right: int
    first_only: int
    second_only: int
    both_wrong: int

    @property
    def count(self) -> int:
        return self.both_right + self.first_only + self.second_only + self.both_wrong


def agreement(first: PlanAnswers, second: PlanAnswers) -> Agreement | None:
    """Where two plans are right; None where that is not known."""
    if first.right is None or second.right is None:
        return None
    own, its = first.right, second.right
    counts = (own & its, own & ~its, ~own & its, ~own & ~its)
    return Agreement(*(int(found.sum()) for found in counts))


def answered_confusions(
    inputs: TestInputs, found: PlanAnswers, base: PlanAnswers | None = None
) -> ConfusionView | None:
    """Which classes a plan takes for which, beside another; None where answers or labels are not
    known."""
    if inputs.labels is None or found.answer is None:
        return None
    answers = base.answer if base is not None else None
    beside = () if answers is None else answer_counts(inputs.labels, answers)
    return confusion_view(answer_counts(inputs.labels, found.answer), inputs.classes, beside)


def lead(
    first: PlanAnswers, second: PlanAnswers, inputs: TestInputs
) -> tuple[float, float, float] | None:
    """By what fraction of the inputs `first` is right more often than `second`, with its 95 %
    interval: of paired differences, by blocks. None where that is not known."""
    if first.right is None or second.right is None:
        return None
    gain = first.right.astype(np.float64) - second.right
    interval = block_interval(gain, inputs.blocks)
    return None if interval is None else (float(gain.mean()), *interval)


def _measured(
    store: Store, job: JobRecord, plan: PlanRecord, inputs: TestInputs
) -> NDArray[np.bool_] | None:
    """Which inputs the bundle of a verified plan answered rightly; None where nobody noted it."""
    records = {record.plan_key: record for record in store.list_verifications(job.id)}
    record = records.get(plan.key)
    told = [record.details.get(name, {}) for name in ("frames", "routes")] if record else []
    right = next((found["right"] for found in told if "right" in found), None)
    if right is None or len(right) != len(inputs.rows):
        return None
    return np.array(right, bool)
