"""Two to four plans side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache, tables
from trimtab.dashboard.charts import figures
from trimtab.dashboard.panels.job_choice import choose_job
from trimtab.dashboard.panels.plan_accuracy import class_frame
from trimtab.dashboard.panels.plan_route import show_route
from trimtab.db import JobRecord, PlanRecord
from trimtab.planner.reports.answers.inputs import TestInputs
from trimtab.planner.reports.answers.plan_answers import PlanAnswers, agreement, lead
from trimtab.planner.reports.figures import MetricValues
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.front_frame import known_metrics
from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.text import UNKNOWN, number
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import find_metric

_FEWEST, _MOST = 2, 4
_APART = "whether the 95 % interval of the paired difference on test excludes zero"
_QUALITY_BASES = {"test": "on test", "decided": "conservative estimate on validation"}
_COST_BASES = {
    "measured": "measured",
    "predicted": "predicted",
}


def compare_page() -> None:
    job = choose_job("There is nothing to compare yet")
    if job is None:
        return
    view = store_cache.view(job)
    markup.heading("Compare plans", markup.chip(view.job_name), markup.chip(view.device))
    rows = _choose(view)
    if len(rows) < _FEWEST:
        markup.empty(
            "Choose two to four plans", "Select them above, or use Compare on the page of a plan."
        )
        return
    addresses.remember(plans=",".join(row.key[:12] for row in rows))
    plans = [store_cache.plan_record(job, row.key) for row in rows]
    _figures(view, rows)
    markup.section("Structure")
    for row, plan in zip(rows, plans, strict=True):
        markup.show(markup.div(markup.tag("b", row.label)))
        show_route(store_cache.explanation(job, plan))
        addresses.link("plan", "Open", ":material/open_in_new:", job=job.id, plan=row.key[:12])
    _agreement(job, rows, plans)


def _choose(view: FrontView) -> list[PlanRow]:
    """By the address, else the baseline and the chosen plan."""
    by_key = {row.key: row for row in view.rows}
    wanted = (addresses.parameter("plans") or "").split(",")
    named = [k for part in wanted if part for k in by_key if k.startswith(part)][:_MOST]
    usual = [key for key in dict.fromkeys([view.baseline, view.chosen]) if key]
    keys = st.multiselect(
        "Plans",
        list(by_key),
        default=named or usual,
        format_func=lambda key: f"{by_key[key].label} · {key[:6]}",
        max_selections=_MOST,
        key=f"compare-{view.job_id}",
        label_visibility="collapsed",
        placeholder="Choose two to four plans",
    )
    return [by_key[key] for key in keys]


def _figures(view: FrontView, rows: Sequence[PlanRow]) -> None:
    """A row per metric; the best is marked, and the difference from the first is shown."""
    import pandas as pd

    markup.section(
        "Figures",
        "the best value of each row is marked; below each, the difference from the first plan",
    )
    head = [markup.tag("th", ""), *(markup.tag("th", row.label) for row in rows)]
    lines, cells = [], []
    for metric in _told(view, rows):
        basis, values = _values([row.figure(metric) for row in rows])
        known = [value for value in values if value is not None]
        best = None
        if len(known) > 1 and max(known) > min(known):
            best = max(known) if find_metric(metric).maximise else min(known)
        parts = [_cell(metric, value, values[0], best) for value in values]
        named = markup.tag("td", axis_name(metric), markup.span(basis, cls="tt-delta"))
        lines.append(markup.tag("tr", named, *parts))
        cells.append([axis_name(metric), basis, *values])
    facts: dict[str, list[str]] = {
        "status": [row.status for row in rows],
        "role": [", ".join(row.roles) or "dominated" for row in rows],
        "meets the constraints": [row.feasible for row in rows],
        "speed-up": [
            UNKNOWN if r.speedup is None else f"{r.speedup.text} ({r.speedup.says})" for r in rows
        ],
    }
    for name, told in facts.items():
        parts = [markup.tag("td", text) for text in told]
        lines.append(markup.tag("tr", markup.tag("td", name), *parts))
    table = markup.tag("table", markup.tag("tr", *head), *lines, cls="tt-table")
    markup.show(markup.div(table, cls="tt-scroll"))
    names = [f"{row.label} {row.key[:6]}" for row in rows]
    tables.csv_button(
        pd.DataFrame(cells, columns=["metric", "basis", *names]), f"compare-{view.job_id}"
    )


def _told(view: FrontView, rows: Sequence[PlanRow]) -> list[str]:
    metrics = dict.fromkeys([*known_metrics(view), *(n for row in rows for n in row.figures)])
    return [n for n in metrics if any(_values([row.figure(n)])[0] for row in rows)]


def _values(figures: Sequence[MetricValues]) -> tuple[str, list[float | None]]:
    """The best basis that is known of all of these figures, else of the most of them, in words;
    and their values on it: what was measured is not compared with what was predicted."""
    quality = find_metric(figures[0].metric).kind == "quality"
    bases = _QUALITY_BASES if quality else _COST_BASES
    found = {text: [getattr(figure, name) for figure in figures] for name, text in bases.items()}
    best = max(found, key=lambda text: sum(value is not None for value in found[text]))
    if all(value is None for value in found[best]):
        return "", found[best]
    return best, found[best]


def _cell(
    metric: str, value: float | None, first: float | None, best: float | None
) -> markup.Markup:
    shown = markup.span(
        number(value, metric), cls="tt-best" if value == best and best is not None else ""
    )
    if value is None or first is None or value == first:
        return markup.tag("td", shown)
    if find_metric(metric).kind == "quality":
        delta = f"{100 * (value - first):+.1f} points"
    else:
        delta = f"{value / first - 1:+.0%}" if first else ""
    return markup.tag("td", shown, markup.span(delta, cls="tt-delta"))


def _agreement(job: JobRecord, rows: Sequence[PlanRow], plans: Sequence[PlanRecord]) -> None:
    """For each pair: on how many inputs they agree, and which is right where they differ."""
    import pandas as pd

    markup.section("Agreement, input by input", "on test")
    try:
        inputs = store_cache.inputs(job)
    except TrimtabError as error:
        markup.problem("The photographs of this job cannot be read", str(error), "info")
        return
    found: dict[str, PlanAnswers] = {}
    names = [f"{row.label} · {row.key[:6]}" for row in rows]
    for name, plan in zip(names, plans, strict=True):
        answers = store_cache.answers(job, plan)
        if isinstance(answers, str):
            markup.problem(name, answers, "info")
        else:
            found[name] = answers
    if len(found) < _FEWEST:
        return
    pairs = [_pair(first, second, found, inputs) for first, second in combinations(found, 2)]
    column = st.column_config
    tables.table(
        pd.DataFrame(pairs),
        f"agreement-{job.id}",
        {
            "first": column.TextColumn("First", width="medium"),
            "second": column.TextColumn("Second", width="medium"),
            "same": column.ProgressColumn(
                "Same answer", format="percent", min_value=0, max_value=1
            ),
            "both_right": column.NumberColumn("Both right"),
            "first_only": column.NumberColumn("Only the first right"),
            "second_only": column.NumberColumn("Only the second right"),
            "both_wrong": column.NumberColumn("Both wrong"),
            "lead": column.NumberColumn("First leads by, points", format="%+.1f"),
            "low": column.NumberColumn("95 % CI: from", format="%+.1f"),
            "high": column.NumberColumn("to", format="%+.1f"),
            "told_apart": column.TextColumn("Significant", help=_APART),
        },
    )
    if inputs.labels is not None and all(a.right is not None for a in found.values()):
        _classes(job, found)


def _pair(
    first: str, second: str, found: dict[str, PlanAnswers], inputs: TestInputs
) -> dict[str, Any]:
    a, b = found[first], found[second]
    told: dict[str, Any] = {"first": first, "second": second, "same": None}
    if a.answer is not None and b.answer is not None:
        told["same"] = float((a.answer == b.answer).mean())
    both = agreement(a, b)
    if both is not None:
        told |= asdict(both)
    leads = lead(a, b, inputs)
    if leads is not None:
        points, low, high = (100 * value for value in leads)
        apart = "yes" if low > 0 or high < 0 else "no"
        told |= {"lead": points, "low": low, "high": high, "told_apart": apart}
    return told


def _classes(job: JobRecord, found: dict[str, PlanAnswers]) -> None:
    """The classes on which they differ most."""
    inputs = store_cache.inputs(job)
    frame = None
    for name, answers in found.items():
        own = class_frame(inputs, answers, None).rename(columns={"this plan": name})
        frame = own if frame is None else frame.assign(**{name: own[name]})
    assert frame is not None
    values = frame[list(found)].to_numpy(float)
    order = np.argsort(-np.ptp(values, axis=1), kind="stable")
    markup.section("Classes with the largest differences")
    st.plotly_chart(
        figures.class_picture(frame.iloc[order[:12]], list(found)),
        config=figures.CONFIG,
        key="compare-classes",
    )
    tables.behind(frame, f"compare-classes-{job.id}")
