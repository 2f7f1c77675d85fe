"""The front as a table of one figure a cell, which fits 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from trimtab.planner.cli.tables import ROLE_STYLES
from trimtab.planner.reports.figures import MetricValues
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.speedup import PREDICTED, UNPAIRED
from trimtab.planner.reports.text import UNKNOWN, half_width, number, printable
from trimtab_runtime.metrics import find_metric, recalled_class

#: Columns from which on an interval stands beside its figure, not below.
_WIDE = 110
#: The roles that are told; that a plan is on the front is told by its being here.
_ROLES = ("chosen", "baseline", "rival", "member")


def in_order(view: FrontView, rows: Sequence[PlanRow]) -> list[PlanRow]:
    """By the cost that decides, as it is shown; what is unknown comes last."""

    def cost(row: PlanRow) -> float:
        shown = row.figure(view.cost).shown
        return float("inf") if shown is None else shown

    return sorted(rows, key=cost)


def front_table(view: FrontView, rows: Sequence[PlanRow], width: int) -> Table:
    """A plan a row: its key and role, its name, quality on test and costs, the speed-up."""
    between = " " if width >= _WIDE else "\n"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("plan", header_style="bold", no_wrap=True)
    table.add_column("stages", header_style="bold", overflow="fold", min_width=14)
    for metric in view.objectives:
        header = _header(metric, metric == view.cost)
        table.add_column(header, justify="right", header_style="bold", no_wrap=True)
    table.add_column("speed-up", justify="right", header_style="bold", no_wrap=True)
    for row in rows:
        figures = [_figure(row.figure(name), between) for name in view.objectives]
        table.add_row(
            "\n".join([row.key[:8], *(name for name in _ROLES if name in row.roles)]),
            row.label + _doubts(row),
            *figures,
            _speedup(row, between),
            style=next((ROLE_STYLES[role] for role in row.roles), "dim"),
        )
    return table


def legend(view: FrontView, shown: int) -> str:
    """What the columns are, and the order of the rows."""
    known = len([row for row in view.rows if "front" in row.roles])
    return (
        f"{shown} of {len(view.rows)} plans ({known} on the front), sorted by "
        f"{_words(view.cost)}, smallest first. ~ predicted; costs without it were measured on the "
        "device. Qualities are of test, with 95 % intervals."
    )


def _header(metric: str, decides: bool) -> str:
    """A metric on short lines, with its unit."""
    of = recalled_class(metric)
    if of is not None:
        return f"recall\n{printable(of)}"
    found = find_metric(metric)
    unit = [] if found.kind == "quality" or not found.unit else [found.unit]
    lines = [*_words(metric).split(" "), *unit]
    return "\n".join([*lines, *(["\N{DOWNWARDS ARROW}"] if decides else [])])


def _words(metric: str) -> str:
    """A metric without its unit: 'latency mean'."""
    unit = find_metric(metric).unit
    return metric.removesuffix(f"_{unit.lower()}").replace("_", " ") if unit else metric


def _figure(figure: MetricValues, between: str) -> str:
    if find_metric(figure.metric).kind == "quality":
        if figure.test is None:
            return UNKNOWN if figure.decided is None else f"~{number(figure.decided, 'top1')}"
        text = number(figure.test, figure.metric)
        if figure.low is None or figure.high is None:
            return text
        return f"{text}{between}({figure.low:.2f}\N{EN DASH}{figure.high:.2f})"
    if figure.measured is None:
        return UNKNOWN if figure.predicted is None else f"~{number(figure.predicted)}"
    return number(figure.measured)


def _speedup(row: PlanRow, between: str) -> str:
    found = row.speedup
    if found is None:
        return UNKNOWN
    sign = "~" if found.basis == PREDICTED else ""
    words = [f"{sign}{found.value:.2f}x"]
    if found.low is not None and found.high is not None:
        words.append(half_width(found.low, found.high))
    elif found.basis == UNPAIRED and "baseline" not in row.roles:
        words.append("not paired")
    return between.join(words)


def _doubts(row: PlanRow) -> str:
    """What is wrong with a plan, in brackets behind its name."""
    words = []
    if row.status == "failed":
        words.append("its bundle failed")
    if row.feasible != "yes":
        words.append(
            "violates a constraint" if row.feasible == "no" else "a constraint is not known"
        )
    if row.disturbances:
        words.append("disturbed")
    return f" [{', '.join(words)}]" if words else ""
