"""The front of a job: any two metrics as axes, with limits as sliders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache, tables
from trimtab.dashboard.charts.front import HEIGHT, front_picture
from trimtab.dashboard.panels.job_choice import choose_job, state_chip
from trimtab.db import JobRecord
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.front_frame import Bools, Bounds, front_of, known_metrics, within
from trimtab.planner.reports.notes import test_uses, why_none
from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.reports.text import cost_text, with_interval
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd


def front_page() -> None:
    job = choose_job("There is no front yet")
    if job is None:
        return
    place = st.empty()
    # The browser gets ready to draw while the plans are read.
    place.echarts_chart({"series": []}, height=HEIGHT, key="front-to-come")
    found = store_cache.front(job)
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
    _lead(job, view)
    _explore(job, found)


def _lead(job: JobRecord, view: FrontView) -> None:
    """The chosen plan beside the baseline."""
    chosen, baseline = view.row(view.chosen), view.row(view.baseline)
    if chosen is None:
        markup.problem("No plan is chosen", "\n".join(why_none(view)[1:]), "warn")
    shown = [
        (name, row)
        for name, row in (("Chosen", chosen), ("Baseline", baseline))
        if row is not None
    ]
    markup.cards(*(_card(name, row, view) for name, row in shown))
    if chosen is not None:
        with st.container(horizontal=True):
            key = chosen.key[:12]
            addresses.link("plan", "Open the chosen plan", ":material/star:", job=job.id, plan=key)
            if baseline is not None and baseline is not chosen:
                pair = f"{key},{baseline.key[:12]}"
                label = "Compare with the baseline"
                addresses.link("compare", label, ":material/compare:", job=job.id, plans=pair)


def _card(name: str, row: PlanRow, view: FrontView) -> markup.Markup:
    latency = row.figure(LATENCY)
    disturbed, speed = ", disturbed" if row.disturbances else "", ""
    if row.speedup is not None and name == "Chosen":
        speed = f" · {row.speedup.text} as fast as the baseline ({row.speedup.says})"
    quality = with_interval(row.figure(view.quality))
    note = f"{axis_name(view.quality)} on test {quality}{speed}"
    told = f"{cost_text(latency)} ms {latency.basis}{disturbed}"
    return markup.card(f"{name}: {row.label}", told, note, "lead")


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
    groups = _groups(frame, allowed, within(frame, bounds), ahead)
    with picture:
        _draw(job, frame, groups, ahead, axes, third, by_size)
        st.caption(
            "Plans are selected, filtered and plotted by conservative estimates on validation "
            "data and by predicted costs; test results are only shown. Click a plan to open it."
        )
    _front_table(job, frame[ahead].sort_values(axes[0]), wanted)
    tables.csv_button(frame, f"plans-{job.id}", "CSV of all plans")


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


def _front_table(job: JobRecord, frame: pd.DataFrame, metrics: list[str]) -> None:
    markup.section(
        f"{len(frame)} {'plan' if len(frame) == 1 else 'plans'} on the front",
        "within the limits above, the fastest first; select a row to open it",
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
    }
    for metric in metrics:
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
    event = tables.table(
        frame,
        f"front-{job.id}",
        columns,
        column_order=shown,
        on_select="rerun",
        selection_mode="single-row",
    )
    rows = event["selection"]["rows"]
    if rows:
        addresses.open_page("plan", job=job.id, plan=frame["key"].iloc[rows[0]][:12])
