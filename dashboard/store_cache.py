"""What the store holds, read once for each state of a job.

The store is opened read-only. Everything here is kept by the server until the job changes:
nothing that these functions return may be altered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from trimtab.db import EventRecord, JobRecord, PlanRecord, Store
from trimtab.planner.jobs.lookup import job_state
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports import comparison
from trimtab.planner.reports.answers.inputs import TestInputs, job_inputs
from trimtab.planner.reports.answers.plan_answers import PlanAnswers, plan_answers
from trimtab.planner.reports.figures import plan_figures
from trimtab.planner.reports.front import FrontView, front_view
from trimtab.planner.reports.front_frame import front_frame
from trimtab.planner.reports.names import plan_name
from trimtab.planner.reports.places import job_place
from trimtab.planner.reports.plan.report import PlanReport, report_plan
from trimtab.planner.reports.speedup import SpeedUp
from trimtab.planner.reports.text import printable
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import PlanningError, TrimtabError

if TYPE_CHECKING:
    import pandas as pd

_HERE = "stored.here"
_JOBS, _PLANS = 64, 256  # kept at most


def use(here: StoreLocation) -> None:
    """The store of this session."""
    st.session_state[_HERE] = here


def here() -> StoreLocation:
    found = st.session_state[_HERE]
    assert isinstance(found, StoreLocation)
    return found


def store() -> Store:
    """The store, read-only. StoreError where there is none."""
    return _open(place(), str(here().artefacts or ""), here())


def place() -> str:
    """The store, and which file it is: another may have been put in its place. (While a store is
    open, no other file gets the number of its.)"""
    file = here().file
    if file is None:
        return here().store
    try:
        found = file.stat()
    except OSError:
        return here().store  # which opening it will say
    return f"{here().store} {found.st_dev}:{found.st_ino}"


@st.cache_resource(show_spinner=False, max_entries=4, on_release=Store.close)
def _open(location: str, artefacts: str, _here: StoreLocation) -> Store:
    return Store.open(_here.store, _here.artefacts, read_only=True)


def exists() -> bool:
    return here().exists


def stamp(job: JobRecord) -> str:
    """A name of the state that a job is in."""
    return content_key(
        [job.id, job.state, str(job.finished_at), job.progress, job.message or "", job.summary]
    )


@dataclass(frozen=True)
class JobLine:
    """A job in a line; `speedup` is the chosen plan's."""

    job: JobRecord
    name: str
    device: str
    workload: str
    chosen: str | None
    speedup: SpeedUp | None
    warnings: int
    errors: int


def job_lines() -> list[tuple[JobLine, str]]:
    """All jobs with their states ('killed' where the process is gone), the newest first."""
    opened = store()
    return [
        (_line(place(), stamp(job), opened, job), job_state(opened, job))
        for job in opened.list_jobs()
    ]


@st.cache_resource(show_spinner=False, max_entries=512)
def _line(location: str, state: str, _store: Store, _job: JobRecord) -> JobLine:
    told = summary_of(_job)
    plans = {"chosen": told.get("chosen"), "baseline": told.get("baseline")}
    found = {name: _store.get_plan(_job.id, key) for name, key in plans.items() if key}
    chosen, base = found.get("chosen"), found.get("baseline")
    levels = [event.level for event in _store.list_events(_job.id)]
    workload = _store.get_workload(_job.workload_key) if _job.workload_key else None
    return JobLine(
        job=_job,
        name=printable(_job.name),
        device=job_place(_store, _job),
        workload=printable(workload.name) if workload else "",
        chosen=plan_name(chosen.plan) if chosen else None,
        speedup=(
            SpeedUp.of(chosen.plan, plan_figures(chosen), plan_figures(base))
            if chosen and base
            else None
        ),
        warnings=levels.count("warning"),
        errors=levels.count("error"),
    )


@dataclass(frozen=True)
class Front:
    """A front with its table."""

    view: FrontView
    frame: pd.DataFrame


def front(job: JobRecord) -> Front:
    """Raises PlanningError where there are no plans yet."""
    return _front(place(), stamp(job), store(), job)


@st.cache_resource(show_spinner=False, max_entries=_JOBS)
def _front(location: str, state: str, _store: Store, _job: JobRecord) -> Front:
    view = _view(location, state, _store, _job)
    return Front(view, front_frame(view))


def view(job: JobRecord) -> FrontView:
    """A front without its table. Raises PlanningError where there are no plans yet."""
    return _view(place(), stamp(job), store(), job)


@st.cache_resource(show_spinner="Reading plans", max_entries=_JOBS)
def _view(location: str, state: str, _store: Store, _job: JobRecord) -> FrontView:
    return front_view(_store, _job)


def verdict(job: JobRecord) -> list[str]:
    """What to ship, and what stands beside that; empty where nothing was chosen."""
    return _verdict(place(), stamp(job), store(), job)


@st.cache_resource(show_spinner="Comparing answers", max_entries=_JOBS)
def _verdict(location: str, state: str, _store: Store, _job: JobRecord) -> list[str]:
    return comparison.verdict(_store, _job, _view(location, state, _store, _job))


def plan_record(job: JobRecord, key: str) -> PlanRecord:
    """A plan of a job, by its key or the beginning of it. Raises StoreError."""
    return store().find_plan(key, job_id=job.id)


def explanation(job: JobRecord, plan: PlanRecord) -> PlanReport:
    """What is known of a plan; the front of its job is read once for all of them."""
    return _explanation(place(), stamp(job), plan.key, store(), job, plan)


@st.cache_resource(show_spinner=False, max_entries=_PLANS)
def _explanation(
    location: str, state: str, key: str, _store: Store, _job: JobRecord, _plan: PlanRecord
) -> PlanReport:
    return report_plan(_store, _plan, _view(location, state, _store, _job))


@st.cache_resource(show_spinner="Reading the photographs of the job", max_entries=8)
def _inputs(location: str, job_id: str, _job: JobRecord) -> TestInputs:
    return job_inputs(_job)


def inputs(job: JobRecord) -> TestInputs:
    """Raises WorkloadError or PlanningError where they are gone."""
    return _inputs(place(), job.id, job)


def answers(job: JobRecord, plan: PlanRecord) -> PlanAnswers | str:
    """What a plan says on test, input by input, or why that is not known."""
    try:
        return _answers(place(), stamp(job), plan.key, store(), job, plan)
    except TrimtabError as error:
        return str(error)


@st.cache_resource(show_spinner="Replaying answers", max_entries=_PLANS)
def _answers(
    location: str, state: str, key: str, _store: Store, _job: JobRecord, _plan: PlanRecord
) -> PlanAnswers:
    return plan_answers(_store, _job, _plan, inputs(_job))


def events(job: JobRecord) -> list[EventRecord]:
    return store().list_events(job.id)


def pick_job(wanted: str | None) -> JobRecord | None:
    """The job of an address; the latest with plans without one. PlanningError for one that is
    not there."""
    jobs = store().list_jobs() if exists() else []
    if wanted is not None:
        found = [job for job in jobs if job.id.startswith(wanted)]
        if len(found) != 1:
            raise PlanningError(f"no job of this store has the id {printable(wanted)}")
        return found[0]
    return next((job for job in jobs if summary_of(job).get("plans")), next(iter(jobs), None))
