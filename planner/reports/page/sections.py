"""The sections of a report, from what the store holds of a job."""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.lookup import device_keys, devices_of
from trimtab.planner.reports import notes
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import FrontView, PlanRow, front_view
from trimtab.planner.reports.page.blocks import (
    Bar,
    Bars,
    Block,
    Code,
    Page,
    Paragraphs,
    Picture,
    Section,
    Table,
)
from trimtab.planner.reports.page.losses import losses_section
from trimtab.planner.reports.plan.report import PlanReport, report_plan
from trimtab.planner.reports.plan.waterfall import waterfall
from trimtab.planner.reports.plots.front_png import write_png
from trimtab.planner.reports.plots.style import axis_name, position
from trimtab.planner.reports.speedup import speedup_text
from trimtab.planner.reports.text import UNKNOWN, cost_text, number, printable, with_interval
from trimtab.planner.reports.why_not import why_not
from trimtab_runtime import __version__
from trimtab_runtime.metrics import find_metric

_ROWS, IMAGES = 20, 24


def report_page(store: Store, job: JobRecord, images: int = IMAGES) -> Page:
    """All of a job on one page, with at most `images` photographs. Raises PlanningError where it
    has no plans."""
    view = front_view(store, job)
    plan = None
    if view.chosen is not None:
        plan = report_plan(store, store.find_plan(view.chosen, job_id=job.id), view)
    found = [
        _verdict(store, job, view),
        _front(view),
        _others(store, job, view),
        *([_milliseconds(plan, view)] if plan else []),
        losses_section(store, job, view, images),
        _predicted(view),
        _measured(store, job, view),
        _again(job),
    ]
    sections = [section for section in found if section is not None]
    when = (job.finished_at or job.started_at).strftime("%Y-%m-%d %H:%M UTC")
    subtitle = f"Job {job.id}, {view.state}, on {view.device}, {when}"
    return Page(printable(job.name), subtitle, sections)


def _verdict(store: Store, job: JobRecord, view: FrontView) -> Section:
    first, *rest = verdict(store, job, view) or notes.why_none(view)
    chosen = view.row(view.chosen)
    cautions = notes.caution_notes(chosen) if chosen else []
    disturbed = [f"Disturbed: {text}" for text in chosen.disturbances] if chosen else []
    return Section(
        "Verdict", [Paragraphs([first], strong=True), Paragraphs([*rest, *cautions, *disturbed])]
    )


def _front(view: FrontView) -> Section:
    rows = sorted(view.pick(_ROWS), key=lambda row: row.figure(view.cost).shown or math.inf)
    drawn = [row for row in view.pick() if position(view, row)]
    blocks: list[Block] = []
    if drawn:
        held = io.BytesIO()
        write_png(view, drawn, held)
        axes = f"{axis_name(view.quality)} over {axis_name(view.cost)}"
        blocks.append(Picture(held.getvalue(), f"{axes}, {len(drawn)} plans"))
    told = [name for name in view.objectives if name != view.quality]
    head = ["plan", "role", f"{axis_name(view.quality)}, validation", "test (95 %)"]
    head += [*map(axis_name, told), "speed-up", "status"]
    cells = [
        [
            row.label,
            ", ".join(row.roles) or "dominated",
            number(row.figure(view.quality).decided, view.quality),
            with_interval(row.figure(view.quality)),
            *(_shown(row, name) for name in told),
            speedup_text(row.speedup),
            row.standing,
        ]
        for row in rows
    ]
    marked = frozenset(n for n, row in enumerate(rows) if "chosen" in row.roles)
    lines = notes.front_notes(view, len(rows))
    return Section("The front", [*blocks, Table(head, cells, marked), Paragraphs(lines)])


def _others(store: Store, job: JobRecord, view: FrontView) -> Section | None:
    """Why not another plan of the front; None where none was chosen."""
    shown = {row.key for row in view.pick(_ROWS)}
    found = [[each.label, each.text] for each in why_not(store, job, view) if each.key in shown]
    if not found:
        return None
    return Section("Why not another plan", [Table(["plan", "why not"], found, numeric=False)])


def _shown(row: PlanRow, metric: str) -> str:
    figure = row.figure(metric)
    if find_metric(metric).kind == "quality":
        return with_interval(figure)
    return cost_text(figure)


def _milliseconds(plan: PlanReport, view: FrontView) -> Section:
    """From the baseline's latency to the chosen plan's, and the stages of that."""
    blocks: list[Block] = [Paragraphs([plan.why])]
    bars = waterfall(plan, view.row(view.baseline))
    if bars:
        blocks.append(_bars([(bar.label, bar.ms, bar.kind) for bar in bars]))
    head = ["stage", "runs for", "ms per run", "share of time", "threads", "size, MB"]
    stages = [
        [
            stage.variant,
            f"{stage.reach:.1%} of inputs",
            number(stage.stage_ms),
            f"{stage.time_share:.1%}",
            str(stage.options.threads),
            f"{stage.size_mb:.1f}",
        ]
        for stage in plan.stages
    ]
    blocks.append(Table(head, stages))
    return Section("Where the milliseconds went", blocks)


def _bars(told: Sequence[tuple[str, float, str]]) -> Bars:
    """Totals begin at zero, changes where the one before ended."""
    widest, at, found = max(ms for _, ms, kind in told if kind == "total"), 0.0, []
    spans = []
    for label, ms, kind in told:
        start = 0.0 if kind == "total" else at
        at = start + ms
        spans.append((label, ms, kind, start, at))
        widest = max(widest, start, at)
    for label, ms, kind, start, end in spans:
        look = "total" if kind == "total" else "more" if ms > 0 else "less"
        sign = "" if kind == "total" else "+" if ms > 0 else "-"
        low, high = sorted(max(0.0, at / widest) for at in (start, end))
        found.append(Bar(label, f"{sign}{number(abs(ms))} ms", low, high, look))
    return Bars(found)


def _predicted(view: FrontView) -> Section | None:
    """Of every verified plan each cost, predicted and measured."""
    rows = []
    for row in view.rows:
        for name, figure in row.figures.items():
            if row.status == "verified" and figure.measured is not None:
                error = UNKNOWN if figure.error is None else f"{figure.error:+.1%}"
                spans = [_span(figure.predicted_low, figure.predicted_high)]
                spans.append(_span(figure.low, figure.high))
                values = [number(figure.predicted), spans[0], number(figure.measured), spans[1]]
                rows.append([row.label, axis_name(name), *values, error])
    if not rows:
        return None
    head = ["plan", "figure", "predicted", "95 %", "measured", "95 %", "error"]
    told = "Predicted before the exported file was run; measured on that file, on the device."
    return Section("Predicted against measured", [Paragraphs([told]), Table(head, rows)])


def _span(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{number(low)}\N{EN DASH}{number(high)}"


def _measured(store: Store, job: JobRecord, view: FrontView) -> Section:
    """The device, the data and the versions."""
    rows: list[list[str]] = []
    for key in device_keys(job):
        device = store.get_device(key)
        if device is not None:
            rows.append(["device", printable(device.address)])
            rows += _facts(device.fingerprint)
    workload = store.get_workload(job.workload_key) if job.workload_key else None
    if workload is not None:
        rows += [["images", printable(workload.name)], *_facts(workload.summary)]
        rows.append(["content of the images", workload.key[:16]])
    rows.append(["test set used for", notes.test_uses(view)])
    rows.append(["written by", f"trimtab {__version__}"])
    return Section("Device, data, versions", [Table(["", ""], rows, numeric=False)])


def _facts(told: Mapping[str, Any]) -> list[list[str]]:
    """Names and values; of lists the beginning."""
    return [[printable(str(name)), _short(value)] for name, value in told.items() if value]


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} {held}" for name, held in value.items()]
    if isinstance(value, (list, tuple)):
        more = f" and {len(value) - 12} more" if len(value) > 12 else ""
        return printable(", ".join(map(str, value[:12])) + more)
    return printable(str(value))


def _again(job: JobRecord) -> Section:
    """What repeats the job: its specification, and a command."""
    name = shlex.quote(f"{job.id}.yaml")
    told = f"Save the specification below as {name}, and run this. Paths are those of then."
    if devices_of(job):
        told += f" It measured on {len(devices_of(job))} devices."
    text = yaml.safe_dump(dict(job.spec), sort_keys=False, allow_unicode=True)
    blocks: list[Block] = [Paragraphs([told]), Code(f"trimtab plan {name}"), Code(printable(text))]
    return Section("To repeat it", blocks)
