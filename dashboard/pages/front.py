"""The front of a job: any two metrics as axes, with limits as sliders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache, tables
from trimtab.dashboard.charts.front import HEIGHT, front_picture
from trimtab.dashboard.panels.job_choice import choose_job, state_chip
from trimtab.dashboard.panels.verdict_card import show_links, show_verdict
from trimtab.db import JobRecord
from trimtab.planner.reports.front import FrontView
from trimtab.planner.reports.front_frame import Bools, Bounds, front_of, known_metrics, within
from trimtab.planner.reports.notes import test_uses
from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.reports.text import cost_text, with_interval
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd


_MEMORY = "peak_memory_mb"
_COMPARED = 4  # plans, at most


def front_page() -> None:
    job = choose_job("There is no front yet")
    if job is None:
        return
    place = st.empty()
    # The browser gets ready to draw while the plans are read.
    place.echarts_chart({"series": []}, height=HEIGHT, key="front-to-come")
    try:
        found = store_cache.front(job)
    finally:  # no room is left where there is nothing to draw
        place.empty()
    view = found.view
    markup.heading(
        view.job_name,
        state_chip(view.state),
        markup.chip(view.device),
        markup.chip(f"{len(view.rows)} plans"),
        markup.chip(
            f"test set used for {test_uses(view)}",
            title="How often jobs reported on this test set",
        ),
        above="Front",
    )
    fill_sentence = show_verdict(job, view)
    _explore(job, found)
    fill_sentence()


@st.fragment
def _explore(job: JobRecord, found: store_cache.Front) -> None:
    """Everything that a slider moves."""
    view, frame = found.view, found.frame
    metrics = known_metrics(view)
    if len(metrics) < 2:
        markup.empty("Nothing to plot", "Fewer than two metrics of these plans are known.")
        return
    picture, side = st.columns([3, 1], gap="medium")  # narrow screens show the picture first
    with side:
        axes, third, by_size = _axes(view, metrics)
        bounds, keep = _limits(view, frame, metrics, (axes[0], axes[1]))
    allowed = within(frame, bounds)
    if keep:
        allowed &= (frame["feasible"] == "yes").to_numpy()
    allowed &= (frame["status"] != "failed").to_numpy()
    wanted = list(dict.fromkeys([*axes, *([third] if third else [])]))
    ahead = front_of(frame, wanted, allowed)
    best = best_within(view, frame, ahead, bounds) if bounds else None
    groups = _groups(frame, allowed, within(frame, bounds), ahead)
    with picture:
        if best is not None:
            _within_limits(job, found, best, bounds)
        _draw(job, frame, groups, ahead, axes, third, by_size)
        st.caption(
            "Plans are selected, filtered and plotted by conservative estimates on validation "
            "data and by predicted costs; test results are only shown. Click a plan to open it."
        )
    _front_table(job, view, frame[ahead].sort_values(axes[0]), wanted)
    tables.csv_button(frame, f"plans-{job.id}", "CSV of all plans")


def best_within(view: FrontView, frame: pd.DataFrame, ahead: Bools, bounds: Bounds) -> int | None:
    """The row of the plan to take among those that are `ahead` within limits: the cheapest where
    a quality is asked for, else the best. None where there is none."""
    rows = frame[ahead].dropna(subset=[view.quality, view.cost])
    if rows.empty:
        return None
    asked = any(find_metric(name).kind == "quality" for name in bounds)
    order = [view.cost, view.quality] if asked else [view.quality, view.cost]
    ordered = rows.sort_values(order, ascending=[name == view.cost for name in order])
    return int(ordered.index[0])


def _within_limits(job: JobRecord, found: store_cache.Front, best: int, bounds: Bounds) -> None:
    """The plan that the limits choose, to be opened and exported."""
    row = found.view.rows[best]
    latency, quality = row.figure(LATENCY), with_interval(row.figure(found.view.quality))
    asked = any(find_metric(name).kind == "quality" for name in bounds)
    why = "the cheapest of them" if asked else f"the best {axis_name(found.view.quality)} of them"
    told = f"{why}: {cost_text(latency)} ms ({latency.basis}), {quality} on test"
    markup.cards(markup.card("Within your limits", row.label, told, "good"))
    show_links(job, found.view, row)


def _axes(view: FrontView, metrics: list[str]) -> tuple[tuple[str, str], str | None, bool]:
    """Which metrics are drawn."""
    x = st.selectbox(
        "X axis",
        metrics,
        index=metrics.index(view.cost) if view.cost in metrics else 0,
        format_func=axis_name,
        key="x",
        bind="query-params",
    )
    rest = [name for name in metrics if name != x]
    y = st.selectbox(
        "Y axis",
        rest,
        index=rest.index(view.quality) if view.quality in rest else 0,
        format_func=axis_name,
        key="y",
        bind="query-params",
    )
    others = ["", *(name for name in metrics if name not in (x, y))]
    left, right = st.columns([3, 2], wrap=False)
    third = left.selectbox(
        "Colour or size by",
        others,
        format_func=lambda name: axis_name(name) if name else "none",
        key="third",
        bind="query-params",
    )
    how = right.selectbox("Show as", ["colour", "size"], key="third_as", bind="query-params")
    return (x, y), third or None, how == "size"


def _limits(
    view: FrontView, frame: pd.DataFrame, metrics: list[str], axes: tuple[str, str]
) -> tuple[Bounds, bool]:
    """Sliders: a least quality, a largest cost."""
    named = list(dict.fromkeys([*view.objectives, *axes]))
    keep = True
    if (frame["feasible"] != "yes").any():
        keep = st.checkbox(
            "Only plans that meet the job's constraints", True, key="own", bind="query-params"
        )
    bounds: dict[str, tuple[float | None, float | None]] = {}
    for metric in [name for name in metrics if name in named]:
        known = frame[metric].dropna()
        low, high = float(known.min()), float(known.max())
        if not low < high:
            continue
        quality = find_metric(metric).kind == "quality"
        text = "at least" if quality else "at most"
        low, high, step = slider_range(low, high)
        value = st.slider(
            f"{axis_name(metric)} {text}",
            low,
            high,
            low if quality else high,
            step=step,
            format=f"%.{max(0, round(-math.log10(step)))}f",
            key=f"limit-{metric}",
            bind="query-params",
        )
        if quality and value > low:
            bounds[metric] = (value, None)
        elif not quality and value < high:
            bounds[metric] = (None, value)
    return bounds, keep


def slider_range(low: float, high: float) -> tuple[float, float, float]:
    """The ends of a slider around two values, and its step: 50 to 500 steps, a power of ten each.

    Ends are the floats that a browser makes of their decimals: 52 * 0.001 is a little more than
    0.052, so Streamlit would take a slider at its end for one out of bounds, and put it back.
    """
    digits = -math.floor(math.log10((high - low) / 50))
    step = 10.0**-digits
    low, high = math.floor(low / step), math.ceil(high / step)
    return round(low * step, digits), round(high * step, digits), step


def _groups(
    frame: pd.DataFrame, allowed: Bools, inside: Bools, ahead: Bools
) -> dict[str, np.ndarray]:
    """Rows by what they are drawn as; every plan is drawn once."""
    roles, status = frame["roles"].str.split(), frame["status"].to_numpy()
    feasible = frame["feasible"].to_numpy()
    role = np.array(
        [
            next((r for r in ("chosen", "baseline", "rival", "member") if r in own), "")
            for own in roles
        ]
    )
    plain = role == ""
    found = {
        "outside the limits": plain & ~inside,
        "violates a constraint": plain & inside & (feasible == "no") & ~ahead,
        "feasibility unknown": plain & inside & (feasible == "unknown") & ~ahead,
        "verification failed": plain & inside & (status == "failed"),
        "front, predicted": plain & ahead & (status != "verified"),
        "front, verified": plain & ahead & (status == "verified"),
        **{name: role == name for name in ("rival", "member", "baseline", "chosen")},
    }
    taken = np.logical_or.reduce(list(found.values()))
    return {name: np.flatnonzero(m) for name, m in {"dominated": ~taken, **found}.items()}


def _draw(
    job: JobRecord,
    frame: pd.DataFrame,
    groups: dict[str, np.ndarray],
    ahead: Bools,
    axes: tuple[str, str],
    third: str | None,
    by_size: bool,
) -> None:
    stairs = np.flatnonzero(front_of(frame, axes, ahead))
    special = np.concatenate([groups["chosen"], groups["baseline"], groups["member"]])
    picture = front_picture(frame, groups, axes, third, by_size, stairs, special)
    event = st.echarts_chart(
        picture.option, key="front-picture", on_select="rerun", height=HEIGHT, alt=picture.alt
    )
    for found in event["selection"]["selected"]:
        rows, index = picture.rows.get(found["series_id"], ()), found["data_indices"][0]
        if index < len(rows):  # else it was clicked in a picture that is gone
            addresses.open_page("plan", job=job.id, plan=frame["key"].iloc[rows[index]][:12])


def _front_table(job: JobRecord, view: FrontView, frame: pd.DataFrame, metrics: list[str]) -> None:
    """Of the plans on the front; `metrics` are those that are drawn."""
    markup.section(
        f"{len(frame)} {'plan' if len(frame) == 1 else 'plans'} on the front",
        "within the limits above, the cheapest first; click a plan to open it, tick several to "
        "compare them",
    )
    if frame.empty:
        markup.empty(
            "No plan is within the limits",
            "Relax the limits, or show plans that violate a constraint.",
        )
        return
    shown = ["plan", "status"]
    columns: dict[str, object] = {
        "plan": st.column_config.TextColumn("Plan", width="medium"),
        "status": st.column_config.TextColumn("Status"),
        "speedup": st.column_config.NumberColumn("Speed-up", format="%.2fx"),
        "worst_class": st.column_config.TextColumn("Worst class"),
        "worst_recall": st.column_config.NumberColumn("Its recall, test", format="percent"),
    }
    told = dict.fromkeys([*metrics, *view.objectives, *({_MEMORY} & set(known_metrics(view)))])
    for metric in told:
        quality = find_metric(metric).kind == "quality"
        digits = "%.3f" if quality else "%.4g"
        parts = (
            {"": "conservative estimate", "_test": "test"}
            if quality
            else {"_predicted": "predicted", "_measured": "measured"}
        )
        for suffix, text in parts.items():
            if f"{metric}{suffix}" in frame and frame[f"{metric}{suffix}"].notna().any():
                name = f"{axis_name(metric)} ({text})"
                columns[f"{metric}{suffix}"] = st.column_config.NumberColumn(name, format=digits)
                shown.append(f"{metric}{suffix}")
    shown.append("speedup")
    if frame["worst_recall"].notna().any():
        shown += ["worst_class", "worst_recall"]
    event = tables.table(
        frame,
        f"front-{job.id}",
        columns,
        column_order=shown,
        on_select="rerun",
        selection_mode=["multi-row", "single-cell"],
    )
    keys = frame["key"].str[:12]
    for row, _ in event["selection"]["cells"]:
        addresses.open_page("plan", job=job.id, plan=keys.iloc[row])
    ticked = [keys.iloc[row] for row in event["selection"]["rows"]]
    if ticked:
        plans = list(dict.fromkeys([*([view.baseline[:12]] if view.baseline else []), *ticked]))
        label = f"Compare {len(ticked)} with the baseline" if view.baseline else "Compare"
        pair = ",".join(plans[:_COMPARED])
        addresses.link("compare", label, ":material/compare:", job=job.id, plans=pair)
