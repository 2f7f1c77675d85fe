"""Views as rich tables, and as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from planner.explaining import Explanation, StageView
from planner.figures import Figure
from planner.views import LATENCY, FrontView, PlanRow, printable
from trimtab_runtime.metrics import METRICS, find_metric, recalled_class

UNKNOWN = "\N{EN DASH}"  # what nobody measured is neither zero nor nothing
_WIDE = 130  # columns of a screen
_ROLE_STYLES = {"chosen": "bold green", "baseline": "bold", "rival": "", "member": "", "front": ""}


def plain_table(*headers: str, title: str | None = None) -> Table:
    """A table without a frame; every column wraps rather than loses text."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left"
    )
    for header in headers:
        table.add_column(header, overflow="fold", header_style="bold")
    return table


def number(value: float | None, metric: str | None = None) -> str:
    """A figure with as many digits as it deserves: fractions three, the rest three significant."""
    if value is None:
        return UNKNOWN
    if metric is not None and find_metric(metric).kind == "quality":
        return f"{value:.3f}"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def with_interval(figure: Figure, between: str = " ") -> str:
    """A test value with its 95 % interval."""
    text = number(figure.test, figure.metric)
    if figure.low is None or figure.high is None:
        return text
    return f"{text}{between}({figure.low:.3f}\N{EN DASH}{figure.high:.3f})"


def front_table(view: FrontView, rows: Sequence[PlanRow], width: int) -> Table:
    """One line a plan: what was decided on, what test and the device say, the speed-up. On a
    narrow screen what belongs together stands in one column, one below the other."""
    wide = width >= _WIDE
    table = plain_table(*(["plan", "role"] if wide else ["plan\nrole"]))
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True
    table.add_column(
        "stages (share of inputs)", overflow="fold", header_style="bold", min_width=16
    )
    for metric in view.objectives:
        quality = find_metric(metric).kind == "quality"
        bases = ("tune", "test (95 %)") if quality else ("pred.", "meas.")
        name = _column_name(metric)
        for text in bases if wide else ("\n".join(bases),):
            table.add_column(f"{name}\n{text}", justify="right", header_style="bold", no_wrap=True)
    for text in ("speed-up", "status") if wide else ("speed-up\nstatus",):
        table.add_column(text, header_style="bold", min_width=9)
    for row in rows:
        style = next((_ROLE_STYLES[role] for role in row.roles), "dim")
        groups = _front_cells(view, row, wide)
        cells = [cell for group in groups for cell in group]
        joined = ["\n".join(group) for group in groups]
        table.add_row(*(cells if wide else joined), style=style)
    return table


def _column_name(metric: str) -> str:
    """A metric on several short lines."""
    of = recalled_class(metric)
    return metric.replace("_", "\n") if of is None else f"recall\n[{printable(of)}]"


def _front_cells(view: FrontView, row: PlanRow, wide: bool) -> list[list[str]]:
    """Groups of cells that belong together."""
    groups = [[row.key[:8], " ".join(row.roles) or "dominated"], [row.label]]
    for metric in view.objectives:
        figure = row.figure(metric)
        if find_metric(metric).kind == "quality":
            test = with_interval(figure, " " if wide else "\n")
            told = figure.decided
        else:
            # Of a verified plan, what was predicted before its bundle corrected it.
            test = number(figure.measured)
            told = figure.decided if figure.measured is None else figure.predicted
        groups.append([number(told, metric), test])
    speedup = UNKNOWN if row.speedup is None else f"{row.speedup:.2f}x"
    infeasible = {"yes": "", "no": ", breaks a constraint", "unknown": ", feasibility unknown"}
    return [*groups, [speedup, row.status + infeasible[row.feasible]]]


def front_notes(view: FrontView, shown: int) -> list[str]:
    """What the reader of a front table must know."""
    front = sum("front" in row.roles for row in view.rows)
    looks = "once" if view.test_looks == 1 else f"{view.test_looks} times"
    lines = [
        f"{shown} of {len(view.rows)} plans, {front} on the front. Chosen on tune (guarded "
        "estimates, predicted costs); test is only reported.",
        "Verified: the exported bundle was measured (meas.); all else is predicted (pred.). "
        f"Jobs have looked at this test split {looks}.",
    ]
    chosen = view.row(view.chosen)
    if chosen is not None and chosen.figure(view.quality).optimism is not None:
        lines.append(
            f"Optimism left in the chosen plan's {printable(view.quality)} (its guarded lead over "
            f"the baseline less its lead on test): {optimism(chosen.figure(view.quality))}."
        )
    for found in view.corrections:
        lines.append(
            f"{found.plans} verified plans: {found.metric} predicted with a median error of "
            f"{found.error_before:.1%}; corrected by the others, {found.error_held_out:.1%}."
        )
    return lines + [found.text for found in view.predictors]


def why_none(view: FrontView) -> list[str]:
    """Why no plan is chosen: which came nearest, and by how much it misses what."""
    row = view.row(view.nearest)
    if row is None:
        return ["no plan is chosen"]
    return [f"no plan is chosen; nearest: {row.key[:8]} {row.label}", *row.reasons]


def csv_text(rows: Sequence[PlanRow], metrics: Sequence[str]) -> str:
    """Rows as CSV; unknown is empty."""
    flat = [row.flat(metrics) for row in rows]
    buffer = io.StringIO()
    names = list(flat[0]) if flat else ["key"]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)


def stage_table(stages: Sequence[StageView]) -> Table:
    """What each stage sees, takes and answers from."""
    table = plain_table("stage", "inputs", "time", "ms when run", "answers from", "MB", "runs on")
    for column in table.columns[1:6]:
        column.justify = "right"
    for number_, stage in enumerate(stages, 1):
        last = stage.threshold is None
        table.add_row(
            f"{number_} {stage.name}",
            f"{stage.reach:.1%}",
            f"{stage.time_share:.1%}",
            number(stage.stage_ms),
            "always" if last else f"{stage.threshold:.3f}",
            f"{stage.size_mb:.1f}",
            _options_text(stage),
        )
    return table


def _options_text(stage: StageView) -> str:
    options = stage.options
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    words = [options.engine, threads]
    if options.provider != "default":
        words.append(options.provider)
    if options.graph_optimisation != "all":
        words.append(f"graph {options.graph_optimisation}")
    return ", ".join([*words, *(["spinning"] if options.spinning else [])])


def exit_table(found: Explanation) -> Table:
    """A line for each place where inputs stop."""
    table = plain_table("where", "by")
    for header in ("share", "right", "full network", "ms until there"):
        table.add_column(header, justify="right", header_style="bold")
    for row in found.exits:
        shares = (f"{share:.1%}" for share in (row.share, row.right, row.full_right))
        table.add_row(row.where, row.by, *shares, number(row.spent_ms))
    return table


def device_notes(found: Explanation) -> list[str]:
    """The mean latency on each of several devices."""
    notes = []
    for name, figures in found.on_each.items():
        measured = figures.get(f"{LATENCY} test measured")
        predicted = figures.get(f"{LATENCY} tune predicted")
        if measured is not None:
            notes.append(f"On {name}: {number(measured)} ms measured.")
        elif predicted is not None:
            notes.append(f"On {name}: {number(predicted)} ms predicted.")
    return notes


def exit_notes(found: Explanation) -> list[str]:
    """Thresholds, what is remembered, and what is certified."""
    thresholds = {k: v for k, v in asdict(found.thresholds).items() if v is not None}
    told = ", ".join(f"{kind} {value:.4g}" for kind, value in thresholds.items())
    notes = [f"Thresholds: {told}."] if told else []
    memory, parts = found.memory, []
    if memory.thumbnails:
        parts.append(f"{memory.thumbnails} thumbnails")
    if memory.instances:
        parts.append(f"{memory.instances} instances a tap")
    if memory.centres is not None:
        parts.append(f"class centres (measure {memory.centres.measure})")
    if memory.prior is not None:
        prior = memory.prior
        parts.append(
            f"running prior (decay {prior.decay:g}, weight {prior.weight:g}, on final answers "
            f"{prior.final:g})"
        )
    if parts:
        notes.append(f"Remembers {', '.join(parts)}.")
    return notes + ([f"Certificate: {found.certificate}."] if found.certificate else [])


def quality_table(row: PlanRow) -> Table:
    """What was decided on, what test says, and how far the decision was too hopeful of the lead
    over the baseline."""
    headers = ("quality", "tune, replayed", "tune, guarded", "test (95 %)", "optimism left (95 %)")
    table = plain_table(*headers)
    for name, figure in row.figures.items():
        if find_metric(name).kind == "quality":
            told = (number(figure.replayed, name), number(figure.decided, name))
            table.add_row(printable(name), *told, with_interval(figure), optimism(figure))
    return table


def optimism(figure: Figure) -> str:
    """In points of a hundred; what was not decided on has none."""
    if figure.optimism is None or figure.optimism_low is None or figure.optimism_high is None:
        return UNKNOWN
    low, high = 100 * figure.optimism_low, 100 * figure.optimism_high
    return f"{100 * figure.optimism:+.1f} ({low:+.1f} to {high:+.1f}) points"


def cost_table(found: Explanation) -> Table:
    """Predicted for the inputs of test, beside what its bundle was measured to take."""
    table = plain_table("cost", "predicted", "measured", "error")
    for column in table.columns[1:]:
        column.justify = "right"
    figures = dict(found.row.figures)
    for name, value in found.verified.items():
        if name in METRICS and name not in figures:
            figures[name] = Figure(name, None, measured=value)
    for name in METRICS:
        figure = figures.get(name)
        if figure is not None and METRICS[name].kind == "cost":
            error = UNKNOWN if figure.error is None else f"{figure.error:+.1%}"
            table.add_row(name, number(figure.predicted), number(figure.measured), error)
    return table


def heading(text: str) -> Text:
    return Text(text, style="bold")


def summary_line(row: PlanRow, view: FrontView) -> str:
    """A plan in one line: quality on test, latency, speed-up."""
    latency = row.figure(LATENCY)
    basis = "measured" if latency.measured is not None else "predicted"
    value = latency.measured if latency.measured is not None else latency.decided
    quality = with_interval(row.figure(view.quality))
    text = (
        f"{row.label}: {printable(view.quality)} {quality} on test, {number(value)} ms ({basis})"
    )
    if row.speedup is None or "baseline" in row.roles:
        return text
    return f"{text}, {row.speedup:.2f}x ({row.speedup_basis})"
