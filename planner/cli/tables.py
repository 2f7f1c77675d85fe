"""Views as rich tables, and as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich.table import Table
from rich.text import Text

from trimtab.planner.reports.figures import MetricValues
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.names import variant_name
from trimtab.planner.reports.plan.report import PlanReport, StageView
from trimtab.planner.reports.speedup import UNPAIRED, SpeedUp, speedup_text
from trimtab.planner.reports.text import (
    UNKNOWN,
    cell,
    cost_text,
    half_width,
    number,
    printable,
    validation_gap,
    with_interval,
)
from trimtab_runtime.metrics import METRICS, find_metric, recalled_class


def route_table(found: PlanReport) -> Table:
    """A line for each way through the stages."""
    inside = ["by heads"] if any(row.heads for row in found.routes) else []
    table = plain_table("enters at", "answered by", "share", "accuracy", *inside, "examples")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for row in found.routes:
        names = (
            f"{place + 1} {variant_name(found.stages[place].variant)}"
            for place in (row.enter, row.stop)
        )
        examples = "  ".join(PurePath(path).name for path in row.examples)
        shares = [row.share, row.right, *([row.heads] if inside else [])]
        table.add_row(*names, *(f"{share:.1%}" for share in shares), examples)
    return table


_WIDE = 130  # columns of a screen
ROLE_STYLES = {"chosen": "bold green", "baseline": "bold", "rival": "", "member": "", "front": ""}


def plain_table(*headers: str, title: str | None = None) -> Table:
    """A table without a frame; every column wraps rather than loses text."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left"
    )
    for header in headers:
        table.add_column(header, overflow="fold", header_style="bold")
    return table


def full_front_table(view: FrontView, rows: Sequence[PlanRow], width: int) -> Table:
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
        bases = ("validation", "test (95 %)") if quality else ("pred.", "meas.")
        name = _column_name(metric)
        for text in bases if wide else ("\n".join(bases),):
            table.add_column(f"{name}\n{text}", justify="right", header_style="bold", no_wrap=True)
    for text in ("speed-up", "status") if wide else ("speed-up\nstatus",):
        table.add_column(text, header_style="bold", min_width=9, overflow="fold")
    for row in rows:
        style = next((ROLE_STYLES[role] for role in row.roles), "dim")
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
            test = number(figure.measured)
            if figure.low is not None and figure.high is not None:
                test += (" " if wide else "\n") + half_width(figure.low, figure.high)
            told = figure.predicted
        groups.append([number(told, metric), test])
    speedup = _speedup_cell(row.speedup, wide)
    infeasible = {"yes": "", "no": ", violates a constraint", "unknown": ", feasibility unknown"}
    return [*groups, [speedup, row.standing + infeasible[row.feasible]]]


def _speedup_cell(found: SpeedUp | None, wide: bool) -> str:
    """The number with its interval, or what it lacks."""
    if found is None or wide or found.low is None or found.high is None:
        lacks = "not paired" if found is not None and found.basis == UNPAIRED else ""
        return (" " if wide else "\n").join(filter(None, (speedup_text(found), lacks)))
    return f"{found.value:.2f}x\n{half_width(found.low, found.high)}"


def csv_text(rows: Sequence[PlanRow], metrics: Sequence[str]) -> str:
    """Rows as CSV; unknown is empty."""
    flat = [row.flat(metrics) for row in rows]
    return written(flat, list(flat[0]) if flat else ["key"])


def written(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Rows as the text of a CSV file whose cells no spreadsheet computes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return buffer.getvalue()


def json_text(value: Any) -> str:
    """Readable in any script; what a terminal would obey is written as JSON's \\u escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def stage_table(stages: Sequence[StageView]) -> Table:
    """Each stage: its share of inputs and time, and the confidence from which it answers."""
    table = plain_table("stage", "inputs", "time", "ms per run", "accepts if", "MB", "runs on")
    for column in table.columns[1:6]:
        column.justify = "right"
    for number_, stage in enumerate(stages, 1):
        last = stage.threshold is None
        table.add_row(
            f"{number_} {variant_name(stage.variant)}",
            f"{stage.reach:.1%}",
            f"{stage.time_share:.1%}",
            number(stage.stage_ms),
            "always" if last else f"confidence >= {stage.threshold:.3f}",
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
        words.append(f"{options.graph_optimisation} graph optimisation")
    return ", ".join([*words, *(["busy-wait"] if options.spinning else [])])


def exit_table(found: PlanReport) -> Table:
    """A row for each exit: the share of inputs leaving there, and what answered them."""
    table = plain_table("exit", "answered by")
    for header in ("share", "accuracy", "full network", "ms to exit"):
        table.add_column(header, justify="right", header_style="bold")
    for row in found.exits:
        shares = (f"{share:.1%}" for share in (row.share, row.right, row.full_right))
        table.add_row(row.where, row.by, *shares, number(row.spent_ms))
    return table


def quality_table(row: PlanRow) -> Table:
    """Quality on validation (replayed, and the conservative estimate that decides), on test, and
    the gap between the leads over the baseline."""
    headers = (
        "quality",
        "validation, replayed",
        "conservative estimate",
        "test (95 %)",
        "validation-to-test gap",
    )
    table = plain_table(*headers)
    for name, figure in row.figures.items():
        if find_metric(name).kind == "quality":
            told = (number(figure.replayed, name), number(figure.decided, name))
            table.add_row(printable(name), *told, with_interval(figure), validation_gap(figure))
    return table


def cost_table(found: PlanReport) -> Table:
    """Costs predicted for the test inputs, and those measured with the bundle."""
    table = plain_table("cost", "predicted", "measured", "error")
    for column in table.columns[1:]:
        column.justify = "right"
    figures = dict(found.row.figures)
    for name, value in found.verified.items():
        if name in METRICS and name not in figures:
            figures[name] = MetricValues(name, None, measured=value)
    for name in METRICS:
        figure = figures.get(name)
        if figure is not None and METRICS[name].kind == "cost":
            error = UNKNOWN if figure.error is None else f"{figure.error:+.1%}"
            measured = UNKNOWN if figure.measured is None else cost_text(figure)
            table.add_row(name, _predicted(figure), measured, error)
    return table


def _predicted(figure: MetricValues) -> str:
    """A predicted cost with its interval."""
    if figure.predicted_low is None:
        return number(figure.predicted)
    low, high = number(figure.predicted_low), number(figure.predicted_high)
    return f"{number(figure.predicted)} ({low}\N{EN DASH}{high})"


def heading(text: str) -> Text:
    return Text(text, style="bold")
