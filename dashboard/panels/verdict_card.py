"""The verdict on a job: a sentence, three figures, and what can be done with the plan."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache
from trimtab.db import JobRecord
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.notes import why_none
from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.reports.text import cost_text, with_interval
from trimtab_runtime.metrics import find_metric

_MEMORY = "peak_memory_mb"


def show_verdict(job: JobRecord, view: FrontView) -> Callable[[], None]:
    """Of a job that has plans. What is returned fills in the sentence: answers are compared image
    by image for it, so a page has it done when the rest is drawn."""
    chosen, baseline = view.row(view.chosen), view.row(view.baseline)
    if chosen is None:
        markup.problem("No plan is chosen", "\n".join(why_none(view)[1:]), "warn")
        return lambda: None
    place = st.container()
    markup.cards(*_figures(chosen, baseline, view))
    show_links(job, view, chosen)

    def fill() -> None:
        with place:
            first, *rest = store_cache.verdict(job)
            beside = [markup.div(text, cls="tt-mute") for text in rest]
            text = markup.div(first, cls="tt-verdict-text")
            markup.show(markup.div(text, *beside, cls="tt-verdict"))

    return fill


def show_links(job: JobRecord, view: FrontView, row: PlanRow) -> None:
    """What to do with a plan."""
    key = row.key[:12]
    with st.container(horizontal=True):
        addresses.link("plan", "Open and export", ":material/download:", job=job.id, plan=key)
        if view.baseline is not None and view.baseline != row.key:
            pair = f"{view.baseline[:12]},{key}"
            label = "Compare with the baseline"
            addresses.link("compare", label, ":material/compare:", job=job.id, plans=pair)


def _figures(chosen: PlanRow, baseline: PlanRow | None, view: FrontView) -> list[markup.Markup]:
    """Speed, quality and memory, each with the baseline's."""
    disturbed = ", disturbed" if chosen.disturbances else ""
    latency = chosen.figure(LATENCY)
    note = f"{latency.basis}{disturbed}"
    other = baseline if baseline is not None and baseline is not chosen else None
    if other is not None and chosen.speedup is not None:
        note = f"{chosen.speedup.text} as fast as the baseline ({chosen.speedup.says})"
    cards = [
        markup.card("mean latency", f"{cost_text(latency)} ms", note, "lead"),
        markup.card(
            f"{axis_name(view.quality)} on test",
            with_interval(chosen.figure(view.quality)),
            f"baseline {with_interval(other.figure(view.quality))}" if other else "95 % interval",
            "lead",
        ),
    ]
    memory, unit = chosen.figure(_MEMORY), find_metric(_MEMORY).unit
    if memory.shown is not None:
        told = memory.basis
        if other is not None and other.figure(_MEMORY).shown is not None:
            told += f"; baseline {cost_text(other.figure(_MEMORY))} {unit}"
        cards.append(markup.card("peak memory", f"{cost_text(memory)} {unit}", told, "lead"))
    return cards
