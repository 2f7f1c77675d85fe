"""One plan: its structure, why it is fast, its accuracy, and its bundle to download."""

from __future__ import annotations

import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache, tables
from trimtab.dashboard.charts import figures
from trimtab.dashboard.panels.job_choice import choose_job
from trimtab.dashboard.panels.plan_accuracy import show_accuracy
from trimtab.dashboard.panels.plan_export import show_export
from trimtab.dashboard.panels.plan_route import route_table, show_exits, show_route
from trimtab.db import JobRecord, PlanRecord
from trimtab.planner.reports.figures import MetricValues
from trimtab.planner.reports.front import PlanRow
from trimtab.planner.reports.notes import reference_notes, route_text
from trimtab.planner.reports.plan.report import PlanReport
from trimtab.planner.reports.plan.waterfall import waterfall
from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.reports.text import cost_text, number, validation_gap, with_interval
from trimtab_runtime.metrics import METRICS, find_metric

_STATUS = {"verified": "good", "failed": "bad", "predicted": ""}


def plan_page() -> None:
    job = choose_job("There is no plan yet")
    if job is None:
        return
    view = store_cache.view(job)
    wanted = addresses.parameter("plan") or view.chosen or view.nearest or view.rows[0].key
    plan = store_cache.plan_record(job, wanted)
    addresses.remember(plan=plan.key[:12])
    found = store_cache.explanation(job, plan)
    _head(job, found)
    _figures(found, view.quality)
    _buttons(job, plan, view.baseline)
    show_export(job, plan, found)
    markup.section("Structure", route_text(found))
    show_route(found)
    route_table(found)
    if found.losses:
        told = [f"{name} {text}" for name, text in found.losses.items()]
        markup.show(markup.lines(told))
    show_exits(found)
    _why(found, view.row(view.baseline))
    show_accuracy(job, plan, view, found.confusions)
    _predicted(found)
    _constraints(found)
    _lineage(found)


def _head(job: JobRecord, found: PlanReport) -> None:
    row = found.row
    chips = [markup.chip(row.standing, _STATUS[row.status])]
    chips += [markup.chip(role, "live" if role == "chosen" else "") for role in row.roles]
    if row.feasible != "yes":
        text = "violates a constraint" if row.feasible == "no" else "feasibility unknown"
        chips.append(markup.chip(text, "warn"))
    chips += [markup.chip(found.device), markup.chip(row.key[:12], title=row.key)]
    markup.heading(row.label, *chips, above=f"Plan of {found.job_name}")
    if found.failure is not None:
        markup.problem("The bundle could not be verified", found.failure)
    for text in row.reasons:
        markup.problem("Not eligible", text, "warn")
    if row.preferred:
        markup.problem("Why this plan", row.preferred, "info")
    if row.alike:
        markup.problem("Cannot be told apart in latency from", "; ".join(row.alike), "info")


def _figures(found: PlanReport, quality: str) -> None:
    row = found.row
    good = row.figure(quality)
    cards = [
        markup.card(
            f"{axis_name(quality)}, test",
            number(good.test if good.test is not None else good.decided, quality),
            f"95 %: {number(good.low, quality)} to {number(good.high, quality)}; "
            f"conservative estimate: {number(good.decided, quality)}",
            "lead",
        ),
        _cost_card(row.figure(LATENCY)),
    ]
    if row.speedup is not None:
        speed = row.speedup
        kind = "good" if speed.value > 1.005 else "bad" if speed.value < 0.995 else ""
        span = f", 95 %: {speed.span}" if speed.span else ""
        note = f"as fast as the baseline ({speed.says}{span})"
        cards.append(markup.card("speed-up", f"{speed.value:.2f}x", note, kind))
    headlines = (metric.name for metric in METRICS.values() if metric.headline)
    cards += [_cost_card(row.figure(name)) for name in headlines if name in row.figures]
    markup.cards(*cards)


def _cost_card(figure: MetricValues) -> markup.Markup:
    metric = find_metric(figure.metric)
    basis = figure.basis
    if figure.measured is not None:
        basis = f"measured; predicted {number(figure.predicted)}"
    return markup.card(metric.title, f"{cost_text(figure)} {metric.unit}", basis)


def _buttons(job: JobRecord, plan: PlanRecord, baseline: str | None) -> None:
    with st.container(horizontal=True):
        addresses.link("front", "Back to the front", ":material/scatter_plot:", job=job.id)
        if baseline is not None and baseline != plan.key:
            pair = f"{baseline[:12]},{plan.key[:12]}"
            label = "Compare with the baseline"
            addresses.link("compare", label, ":material/compare:", job=job.id, plans=pair)


def _why(found: PlanReport, baseline: PlanRow | None) -> None:
    import pandas as pd

    markup.section("Why it is faster or slower than the baseline")
    markup.show(markup.div(found.why))
    steps = waterfall(found, baseline)
    if not steps:
        return
    st.plotly_chart(
        figures.waterfall_picture(steps), config=figures.CONFIG, key="waterfall-picture"
    )
    frame = pd.DataFrame({"step": [s.label for s in steps], "ms": [s.ms for s in steps]})
    tables.behind(frame, f"waterfall-{found.row.key[:8]}")


def _predicted(found: PlanReport) -> None:
    """Predicted beside measured, cost by cost."""
    import pandas as pd

    markup.section(
        "Predicted against measured",
        "for the test inputs; measured values are those of the exported bundle",
    )
    figures = dict(found.row.figures)
    for name, value in found.verified.items():
        if name in METRICS and name not in figures:
            figures[name] = MetricValues(name, None, measured=value)
    costs = [f for name, f in figures.items() if find_metric(name).kind == "cost"]
    rows = [
        {
            "metric": axis_name(f.metric),
            "predicted": f.predicted,
            "measured": f.measured,
            "error": None if f.error is None else 100 * f.error,
        }
        for f in costs
    ]
    column = st.column_config
    tables.table(
        pd.DataFrame(rows, columns=["metric", "predicted", "measured", "error"]),
        f"costs-{found.row.key[:8]}",
        {
            "metric": column.TextColumn("Cost", width="medium"),
            "predicted": column.NumberColumn("Predicted", format="%.4g"),
            "measured": column.NumberColumn("Measured", format="%.4g"),
            "error": column.NumberColumn("Error", format="%+.1f %%"),
        },
    )
    if found.row.status == "predicted":
        st.caption("Not verified: its bundle has not been run on the device.")
    mismatch = found.verified.get("answer_mismatch")
    if mismatch is not None:
        st.caption(f"{mismatch:.2%} of the bundle's answers differ from the replay.")
    for line in reference_notes(found):
        st.caption(line)
    for text in found.disturbances:
        markup.problem("Disturbed", text, "warn")
    qualities = [f for n, f in found.row.figures.items() if find_metric(n).kind == "quality"]
    rows = [
        {
            "quality": axis_name(f.metric),
            "tune": f.replayed,
            "guarded": f.decided,
            "test": with_interval(f),
            "optimism": validation_gap(f),
        }
        for f in qualities
    ]
    names = ["quality", "tune", "guarded", "test", "optimism"]
    tables.table(
        pd.DataFrame(rows, columns=names),
        f"qualities-{found.row.key[:8]}",
        {
            "quality": column.TextColumn("Quality", width="medium"),
            "tune": column.NumberColumn("Validation, replayed", format="%.3f"),
            "guarded": column.NumberColumn("Conservative estimate", format="%.3f"),
            "test": column.TextColumn("Test (95 %)"),
            "optimism": column.TextColumn("Validation-to-test gap"),
        },
    )


def _constraints(found: PlanReport) -> None:
    if not found.constraints:
        return
    markup.section("Constraints", "checked on conservative estimates and predicted costs")
    words = {"yes": ("met", "good"), "no": ("violated", "bad"), "unknown": ("unknown", "warn")}
    for rule in found.constraints:
        text, kind = words[rule.met]
        limit = f"limit {number(rule.limit)}, this plan {number(rule.value)}"
        parts = [markup.chip(text, kind), markup.span(rule.text, cls="tt-mono")]
        markup.show(markup.div(*parts, markup.span(limit, cls="tt-mute"), cls="tt-chips"))


def _lineage(found: PlanReport) -> None:
    markup.section("Lineage", "from each variant back to its original model")
    lines = list(dict.fromkeys(line for stage in found.stages for line in stage.lineage))
    markup.show(markup.lines(lines))
    for name, text in (*found.early.items(), *found.slimming.items()):
        markup.problem(name, text, "info")
    if found.energy_methods:
        st.text("Energy: " + "; ".join(found.energy_methods))
