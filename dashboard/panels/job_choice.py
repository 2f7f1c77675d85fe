"""The job that a page is about."""

from __future__ import annotations

import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache
from trimtab.db import JobRecord
from trimtab.planner.reports.front import setup_doubts
from trimtab.planner.reports.text import printable

_LAST = "job_choice.last"
_KINDS = {
    "done": "good",
    "running": "live",
    "failed": "bad",
    "killed": "bad",
    "interrupted": "warn",
}


def state_chip(state: str) -> markup.Markup:
    return markup.chip(state, _KINDS.get(state, ""))


def choose_job(title: str) -> JobRecord | None:
    """The job of the address, else the one looked at last, else the latest; with a box to choose
    another. None, after saying what to do, where there is none."""
    wanted = addresses.parameter("job") or st.session_state.get(_LAST)
    job = store_cache.pick_job(wanted)
    if job is None:
        markup.empty(title, "Start a job: upload a specification, or fill in the form.")
        addresses.link("start", "Start a job", ":material/add:")
        return None
    jobs = {each.id: each for each in store_cache.store().list_jobs()}
    if len(jobs) > 1:
        names = {
            each.id: f"{printable(each.name)} · {_date(each)} · {each.id[:6]}"
            for each in jobs.values()
        }
        chosen = st.selectbox(
            "Job",
            list(jobs),
            index=list(jobs).index(job.id),
            format_func=lambda each: names[each],
            label_visibility="collapsed",
            key=f"job-choice-{job.id}",
        )
        if chosen != job.id:
            st.session_state[_LAST] = chosen
            st.query_params.clear()
            st.query_params["job"] = chosen
            st.rerun()
    st.session_state[_LAST] = job.id
    addresses.remember(job=job.id)
    show_doubts(job)
    return job


def show_doubts(job: JobRecord) -> None:
    """What is doubtful in how the models of a job are fed and read."""
    doubts = setup_doubts(job)
    if doubts:
        markup.problem("The set-up of members is in doubt", "\n".join(doubts), "warn")


def _date(job: JobRecord) -> str:
    return f"{job.started_at.astimezone():%Y-%m-%d %H:%M}"
