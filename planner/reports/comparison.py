"""Two plans side by side: what one gains and loses against the other, and the verdict on a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.lookup import devices_of
from trimtab.planner.reports.answers.inputs import TestInputs, job_inputs
from trimtab.planner.reports.answers.plan_answers import (
    PlanAnswers,
    agreement,
    answered_confusions,
    lead,
    plan_answers,
)
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.speedup import LATENCY, PREDICTED, relative
from trimtab.planner.reports.text import number
from trimtab_runtime.errors import PlanningError, TrimtabError

MEMORY = "peak_memory_mb"
#: Test images of which fewer are few.
FEW = 200


@dataclass(frozen=True)
class Changes:
    """How the answers of one plan on test differ from another's: images of `count` that are newly
    wrong and newly right, the lead in accuracy (a fraction) with its 95 % interval of paired
    differences, and the class with the lowest recall of the first, with both recalls."""

    count: int
    newly_wrong: int
    newly_right: int
    lead: tuple[float, float, float] | None
    worst: tuple[str, float, float] | None


@dataclass(frozen=True)
class Comparison:
    """One plan against another. `changes` is None where `unknown` says why."""

    first: PlanRow
    second: PlanRow
    changes: Changes | None
    unknown: str | None

    @property
    def gains(self) -> str:
        """Speed, accuracy and memory in one clause each, and what changes in the answers."""
        parts = [_speed(self.first, self.second), *_quality(self.changes), *self._memory()]
        told = ", ".join(part for part in parts if part)
        return f"{told}; {_answers(self.changes)}" if self.changes else told

    def _memory(self) -> list[str]:
        own, base = (row.figure(MEMORY) for row in (self.first, self.second))
        if not own.shown or not base.shown or own.basis != base.basis:
            return []
        return [f"memory {own.shown / base.shown - 1:+.0%}"]


def compare_plans(
    store: Store, job: JobRecord, view: FrontView, first: str, second: str
) -> Comparison:
    """The plan with the key `first` against that with the key `second`, of one job. Raises
    PlanningError for a plan that the job does not have."""
    rows = [view.row(first), view.row(second)]
    for key, row in zip((first, second), rows, strict=True):
        if row is None:
            raise PlanningError(f"job {job.id} ({job.name}) has no plan {key[:8]}")
    changes, unknown = None, None
    try:
        changes = _changes(store, job, first, second)
    except TrimtabError as error:  # photographs are gone, or traces
        unknown = str(error)
    return Comparison(rows[0], rows[1], changes, unknown)  # type: ignore[arg-type]  # checked


def verdict(store: Store, job: JobRecord, view: FrontView) -> list[str]:
    """What to ship, in a sentence, and what stands beside it. Empty where nothing was chosen."""
    chosen, baseline = view.row(view.chosen), view.row(view.baseline)
    if chosen is None:
        return []
    if baseline is None:
        return [f"Ship {chosen.label}. There is no baseline to compare it with."]
    if chosen.key == baseline.key:
        nearest = _nearest(store, job, view, baseline)
        return [f"Nothing beat {chosen.label}: ship it as it is.{nearest}", *_beside(view, chosen)]
    found = compare_plans(store, job, view, chosen.key, baseline.key)
    lines = [f"Ship {chosen.label}: {found.gains}."]
    if found.unknown:
        lines.append(f"Which answers change is not known: {found.unknown}")
    return [*lines, *_beside(view, chosen), *_few(found.changes)]


def _beside(view: FrontView, chosen: PlanRow) -> list[str]:
    """What must be read with a verdict."""
    told = list(view.setup)
    if chosen.status != "verified":
        told.append(f"Its figures are {chosen.status}, not measured on the exported file.")
    baseline = view.row(view.baseline)
    if chosen.disturbances:
        told.append("It was measured while the device was disturbed: measure again.")
    elif baseline is not None and baseline.disturbances:
        told.append("The baseline was measured while the device was disturbed: measure again.")
    return told


def _few(changes: Changes | None) -> list[str]:
    """What a small test set cannot tell."""
    if changes is None or changes.lead is None or changes.count >= FEW:
        return []
    _, low, high = changes.lead
    return [
        f"Only {changes.count} test images: less than about {50 * (high - low):.0f} points of "
        "accuracy cannot be told from chance."
    ]


def _nearest(store: Store, job: JobRecord, view: FrontView, baseline: PlanRow) -> str:
    """What came nearest to beating the baseline: of the faster plans the one that loses least on
    validation data."""
    faster = [
        row
        for row in view.rows
        if row.speedup is not None
        and row.speedup.value > 1.0
        and row.figure(view.quality).decided is not None
        and row.key != baseline.key
    ]
    if not faster:
        return " No plan is faster."
    best = max(faster, key=lambda row: row.figure(view.quality).decided or 0.0)
    found = compare_plans(store, job, view, best.key, baseline.key)
    return f" Nearest: {best.label}, {found.gains}."


def place_of(store: Store, job: JobRecord) -> JobRecord:
    """The job that has the traces: itself, or that of one of its devices, on all of which a plan
    answers alike."""
    held = (store.get_job(d["job"]) for d in devices_of(job) if d["job"])
    return next((found for found in held if found is not None), job)


def _changes(store: Store, job: JobRecord, first: str, second: str) -> Changes:
    place = place_of(store, job)
    inputs = job_inputs(place)
    own, base = (
        plan_answers(store, place, store.find_plan(key, job_id=place.id), inputs)
        for key in (first, second)
    )
    both = agreement(own, base)
    if both is None:
        raise PlanningError("the job has no labels")
    return Changes(
        count=both.count,
        newly_wrong=both.second_only,
        newly_right=both.first_only,
        lead=lead(own, base, inputs),
        worst=_worst(own, base, inputs),
    )


def _worst(
    own: PlanAnswers, base: PlanAnswers, inputs: TestInputs
) -> tuple[str, float, float] | None:
    """The class of which the first plan recognises the smallest share; None where only that
    answers are right is known."""
    found = answered_confusions(inputs, own, base)
    for lowest in found.worst(1) if found else ():
        if lowest.recall is not None and lowest.baseline_recall is not None:
            return lowest.name, lowest.recall, lowest.baseline_recall
    return None


def _speed(own: PlanRow, base: PlanRow) -> str:
    ours, theirs = own.figure(LATENCY), base.figure(LATENCY)
    found = own.speedup
    if "baseline" not in base.roles:
        found = relative(own.speedup, base.speedup)
    if found is None:
        return "its speed-up is not known"
    span = f"95 % CI {found.span}; " if found.span else ""
    told = [number(figure.shown, LATENCY) for figure in (ours, theirs)]
    if found.basis == PREDICTED:
        told = [number(figure.predicted, LATENCY) for figure in (ours, theirs)]
    return f"{found.value:.2f} times as fast ({span}{told[0]} against {told[1]} ms, {found.says})"


def _quality(changes: Changes | None) -> Sequence[str]:
    if changes is None or changes.lead is None:
        return []
    points, low, high = (100 * value for value in changes.lead)
    return [f"accuracy {points:+.1f} points (95 % CI {low:+.1f} to {high:+.1f})"]


def _answers(changes: Changes) -> str:
    told = (
        f"{changes.newly_wrong} of {changes.count} test images newly wrong, "
        f"{changes.newly_right} newly right"
    )
    if changes.worst:
        name, now, before = changes.worst
        told += f", worst class: {name} {before:.0%} to {now:.0%}"
    return told
