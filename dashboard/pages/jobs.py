"""All jobs: their state, their results and their log."""

from __future__ import annotations

import streamlit as st

from trimtab.dashboard import addresses, login, markup, store_cache, tables
from trimtab.dashboard.panels import python_code
from trimtab.dashboard.panels.job_choice import state_chip
from trimtab.dashboard.panels.job_progress import show_progress
from trimtab.dashboard.panels.job_table import jobs_table
from trimtab.db import JobRecord
from trimtab.planner.jobs.background import (
    Start,
    failure_of,
    may_stop,
    start_job,
    start_of,
    starts,
    stop_job,
)
from trimtab.planner.jobs.lookup import job_state
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.places import job_place
from trimtab.planner.reports.text import printable
from trimtab.planner.specification.job import JobSpec
from trimtab_runtime.errors import TrimtabError

_EVERY_S, _IDLE_S = 2.0, 15.0  # between looks, while something runs and while nothing does
_SHOWN_EVENTS = 200
#: Names of the button that starts a job again, and of how a job ended, by its state.
_AGAIN = {"done": "Run again", "failed": "Retry"}
_ENDED = {"failed": "The job failed", "interrupted": "The job was interrupted"}


def jobs_page() -> None:
    show_jobs("jobs")
    wanted = addresses.parameter("job")
    if wanted is not None and store_cache.exists():
        _detail(store_cache.pick_job(wanted))


def show_jobs(where: str) -> None:
    """What runs, and all jobs, on the page `where`; which store they are in."""
    left, right = st.columns([4, 1], vertical_alignment="bottom", wrap=False)
    with left:
        markup.heading("Jobs")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("New job", type="primary", icon=":material/add:", key="new-job"):
            addresses.open_page("start")
    if not store_cache.exists():
        markup.empty(
            "There is no store yet",
            "The first job creates it: upload a specification, or fill in the form.",
        )
        return
    busy = any(state == "running" for _, state in store_cache.job_lines())
    busy = busy or any(start.runs for start in starts(store_cache.store())[:1])
    st.fragment(_live, run_every=_EVERY_S if busy else _IDLE_S)(busy, where)
    st.text(f"Store: {store_cache.here().shown}")


def _live(busy: bool, where: str) -> None:
    """What runs, and the table. Where that something runs is not as it was, the page is drawn
    anew: it looks less often while nothing does, and shows what became of the selected job."""
    lines = store_cache.job_lines()
    begun = starts(store_cache.store())
    runs = any(state == "running" for _, state in lines) or any(s.runs for s in begun[:1])
    if runs != busy:
        st.rerun()
    _starting(begun, {line.job.spec_sha256 for line, _ in lines})
    running = [line for line, state in lines if state == "running"]
    for line in running:
        with st.container(border=True):
            _running(line)
    if lines and not running:
        with st.container(border=True):
            _latest(*lines[0])
    if not lines:
        if not begun:
            markup.empty("No jobs yet", "Start one: upload a specification, or fill in the form.")
        return
    jobs_table(lines, where)


def _starting(begun: list[Start], known: set[str]) -> None:
    """Jobs that were started and are not in the store yet, or never will be."""
    opened = store_cache.store()
    for start in begun[:20]:
        if start.spec_sha256 not in known and start.runs:
            with st.container(border=True):
                markup.show(
                    markup.div(
                        markup.tag("b", start.name), markup.chip("starting", "live"), cls="tt-row"
                    )
                )
    for start in begun[:1]:
        why = failure_of(opened, start)
        if why is not None:
            markup.problem(f"{start.name} could not be started", why)


def _running(line: store_cache.JobLine) -> None:
    row = [markup.tag("b", line.name), markup.span(line.device, cls="tt-mute")]
    markup.show(markup.div(*row, cls="tt-row"))
    show_progress(line.job)
    _actions(line.job, "running", "live")


def _latest(line: store_cache.JobLine, state: str) -> None:
    """How the job ended that was started last."""
    name = markup.tag("b", line.name)
    row = [markup.div(name, " ", state_chip(state)), markup.span(line.device, cls="tt-mute")]
    told = line.chosen and f"chosen: {line.chosen}"
    if told and line.speedup is not None:
        told += f", {line.speedup.text} as fast as the baseline ({line.speedup.says})"
    if not told:
        told = printable(line.job.message or "no plan is chosen")
    markup.show(markup.div(markup.div(*row, cls="tt-row"), markup.div(told)))
    _actions(line.job, state, "latest")


def _actions(job: JobRecord, state: str, where: str) -> None:
    """Open, stop, resume."""
    with st.container(horizontal=True):
        if summary_of(job).get("plans"):
            addresses.link("front", "Front", ":material/scatter_plot:", job=job.id)
        if state == "running":
            _stop_button(job, where)
            return
        addresses.link("start", "Edit and run again", ":material/edit:", job=job.id)
        if python_code.named_code(job.spec):
            with st.popover(_AGAIN.get(state, "Resume"), icon=":material/play_arrow:"):
                may_run = python_code.confirmed(job.spec, f"{where}-confirmed-{job.id}")
                _resume_button(job, state, where, disabled=not may_run)
        else:
            _resume_button(job, state, where)


def _stop_button(job: JobRecord, where: str) -> None:
    """For whoever may stop it; others are told who that is."""
    start = start_of(store_cache.store(), job)
    if start is None:
        told = "started in a terminal: stop it there, with Ctrl-C"
        markup.show(markup.span(told, cls="tt-mute"))
    elif not may_stop(start, login.who(), login.is_administrator()):
        markup.show(markup.span(f"started by {start.by or 'somebody else'}", cls="tt-mute"))
    elif st.button("Stop", icon=":material/stop:", key=f"{where}-stop-{job.id}"):
        try:
            stop_job(store_cache.store(), job, login.who(), login.is_administrator())
        except TrimtabError as error:
            markup.problem("The job was not stopped", str(error))
            return
        st.toast("The job stops after the current step; all measurements are kept.")


def _resume_button(job: JobRecord, state: str, where: str, disabled: bool = False) -> None:
    if st.button(
        _AGAIN.get(state, "Resume"),
        icon=":material/play_arrow:",
        key=f"{where}-resume-{job.id}",
        help="Finished steps are kept; only missing ones run.",
        disabled=disabled,
    ):
        _resume(job)


def _resume(job: JobRecord) -> None:
    try:
        start_job(
            JobSpec.model_validate(job.spec),
            store_cache.here().store,
            store_cache.here().artefacts,
            login.who(),
        )
    except (TrimtabError, ValueError) as error:
        markup.problem("The job cannot be resumed", str(error))
        return
    st.toast("The job runs in the background.")


def _detail(job: JobRecord | None) -> None:
    """One job: how it ended, what can be done, its log."""
    if job is None:
        return
    opened = store_cache.store()
    state = job_state(opened, job)
    markup.section(printable(job.name))
    chips = [
        state_chip(state),
        markup.chip(job_place(opened, job)),
        markup.chip(job.id),
    ]
    markup.show(markup.div(*chips, cls="tt-chips"))
    if state == "killed":
        text = "Its process ended unexpectedly. All measurements are kept: Resume continues."
        markup.problem("The job was killed", text, "warn")
    elif job.message:
        kind = "bad" if state == "failed" else "warn"
        markup.problem(_ENDED.get(state, state.capitalize()), printable(job.message), kind)
    if state != "running":
        _actions(job, state, "detail")
    _notes(job)
    with st.expander("Specification"):
        st.json(job.spec, expanded=1)


def _notes(job: JobRecord) -> None:
    """Warnings and failures with their reasons."""
    import pandas as pd

    logged = [
        {
            "at": event.at,
            "level": event.level,
            "what": printable(event.subject),
            "text": printable(event.text),
        }
        for event in store_cache.events(job)[-_SHOWN_EVENTS:]
    ]
    if not logged:
        st.caption("The log is empty: no warnings, no failures.")
        return
    frame = pd.DataFrame(logged)
    bad = frame[frame["level"] != "info"]
    st.caption(f"{len(bad)} warnings and failures")
    for _, row in bad.tail(6).iterrows():
        kind = "bad" if row["level"] == "error" else "warn"
        markup.problem(row["what"] or row["level"], row["text"], kind)
    with st.expander("Log"):
        column = st.column_config
        tables.table(
            frame,
            f"notes-{job.id}",
            {
                "at": column.DatetimeColumn("Time", format="HH:mm:ss"),
                "text": column.TextColumn("Message", width="large"),
            },
        )
