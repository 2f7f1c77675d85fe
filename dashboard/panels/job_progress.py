"""Progress of a running job, and the time left."""

from __future__ import annotations

import streamlit as st

from trimtab.dashboard import markup
from trimtab.db import JobRecord
from trimtab.planner.jobs.progress import Pace, time_text
from trimtab.planner.reports.text import printable

_STEPS = {
    "members": "reading models",
    "setup": "trying set-ups",
    "build": "making variants",
    "slim": "slimming",
    "measure": "measuring",
    "search": "composing plans",
    "together": "measuring together",
    "early exits": "early exits",
    "verify": "verifying",
    "turns": "verifying in turns",
}
_WITHIN = {"trace": "measure"}  # a step that is part of another


@st.cache_resource(show_spinner=False)
def _paces() -> dict[tuple[str, str], Pace]:
    """What this server saw of running jobs, so that all its viewers see one time left."""
    return {}


def show_progress(job: JobRecord) -> None:
    """A bar, the steps, and the time that the step in hand will take yet."""
    step, detail = job.progress.get("step", ""), job.progress.get("detail", "")
    done, total = float(job.progress.get("done", 0)), float(job.progress.get("total", 0))
    share = min(1.0, done / total) if total else 0.0
    now = _WITHIN.get(step, step)
    names = list(_STEPS)
    place = names.index(now) if now in names else -1
    words = [
        markup.span(text, cls="tt-now" if number == place else "tt-done" if number < place else "")
        for number, (name, text) in enumerate(_STEPS.items())
        if _applies(job, name)
    ]
    left = _left_s(job, step, done, total)
    told = f"{_STEPS.get(step, step)} {printable(detail)}".strip()
    about = f"about {time_text(left)} left of this step" if left is not None else ""
    markup.show(
        markup.div(
            markup.div(*words, cls="tt-steps"),
            markup.div(markup.div(style=f"width:{share:.1%}"), cls="tt-bar"),
            markup.div(
                markup.span(told or "beginning"),
                markup.span(f"{share:.0%}  {about}", cls="tt-mute"),
                cls="tt-row",
            ),
        )
    )


def _applies(job: JobRecord, step: str) -> bool:
    techniques = job.spec.get("techniques", {})
    if step == "slim":
        return bool(techniques.get("slimming"))
    if step == "early exits":
        return bool(techniques.get("exits") or techniques.get("memory"))
    return True


def _left_s(job: JobRecord, step: str, done: float, total: float) -> float | None:
    """Seconds that the step will take; of a budget of minutes what is left of it."""
    minutes = job.spec.get("budget", {}).get("minutes")
    if step == "measure" and minutes and job.spec["budget"].get("measurements") is None:
        return float(minutes) * 60 * (1 - done / total) if total else None
    pace = _paces().setdefault((job.id, step), Pace(done))
    pace.update(done)
    return pace.left_s(total) if total else None
