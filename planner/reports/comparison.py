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
        return [f"Nothing beat {chosen.label}: ship it as it is.", *_beside(view, chosen)]
    found = compare_plans(store, job, view, chosen.key, baseline.key)
    lines = [f"Ship {chosen.label}: {found.gains}."]
    if found.unknown:
        lines.append(f"Which answers change is not known: {found.unknown}")
    return [*lines, *_beside(view, chosen)]


def _beside(view: FrontView, chosen: PlanRow) -> list[str]:
    """What must be read with a verdict."""
    if chosen.status == "verified":
        return list(view.setup)
    return [f"Its figures are {chosen.status}, not measured on the exported file.", *view.setup]


def _changes(store: Store, job: JobRecord, first: str, second: str) -> Changes:
    place = job
    if devices_of(job):  # the same plan answers alike on all; the traces are those of one
        place = next(
            held for d in devices_of(job) if d["job"] and (held := store.get_job(d["job"]))
        )
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
