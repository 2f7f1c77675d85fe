"""A front as an interactive HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.plots.style import (
    BLUE,
    GREY,
    INK,
    RED,
    axis_name,
    logarithmic,
    on_test,
    position,
    special,
    title_of,
)
from trimtab.planner.reports.text import cost_text, number
from trimtab_runtime.metrics import find_metric


def write_html(view: FrontView, rows: Sequence[PlanRow], target: Path) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    groups = {
        "dominated plan": [row for row in rows if not row.roles],
        "plan on the front": [row for row in rows if row.roles == ("front",)],
        "other members": [row for row in rows if special(row) == "member"],
        "baseline": [row for row in rows if special(row) == "baseline"],
        "chosen plan": [row for row in rows if special(row) == "chosen"],
    }
    for name, members in groups.items():
        if members:
            figure.add_trace(_estimates(go, view, name, members))
    tested = [row for row in rows if special(row) and on_test(view, row)]
    if tested:
        figure.add_trace(_intervals(go, view, tested))
    logscale = logarithmic(view, rows)
    figure.update_layout(
        template="plotly_white",
        title={"text": html.escape(title_of(view)), "x": 0.02},
        xaxis={
            "title": {"text": axis_name(view.cost)},
            "type": "log" if logscale else "linear",
        },
        yaxis={"title": {"text": html.escape(axis_name(view.quality))}},
        legend={"orientation": "h", "y": -0.16},
        hoverlabel={"align": "left"},
        font={"family": "system-ui, sans-serif", "size": 14},
    )
    if logscale:
        figure.update_xaxes(dtick="D2")
    page = figure.to_html(
        include_plotlyjs=True,
        div_id="front",
        config={"displaylogo": False, "responsive": True},
        default_height="92vh",
    )
    target.write_text(page, encoding="utf-8")


_LOOKS: dict[str, dict[str, Any]] = {
    "dominated plan": {"size": 6, "color": GREY},
    "plan on the front": {"size": 9, "color": BLUE},
    "other members": {"size": 11, "color": INK, "symbol": "diamond-open"},
    "baseline": {"size": 12, "color": INK, "symbol": "diamond"},
    "chosen plan": {"size": 18, "color": RED, "symbol": "star"},
}


def _estimates(go: Any, view: FrontView, name: str, rows: Sequence[PlanRow]) -> Any:
    points = [position(view, row) or (None, None) for row in rows]
    return go.Scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="markers",
        name=name,
        marker=_LOOKS[name],
        text=[_hover(view, row) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )


def _intervals(go: Any, view: FrontView, rows: Sequence[PlanRow]) -> Any:
    found = [tested for row in rows if (tested := on_test(view, row))]
    return go.Scatter(
        x=[x for x, *_ in found],
        y=[value for _, value, *_ in found],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - value for _, value, _, high in found],
            "arrayminus": [value - low for _, value, low, _ in found],
            "thickness": 1.4,
        },
        mode="markers",
        name="test, 95 % interval",
        marker={"symbol": "line-ew-open", "size": 12, "color": "#5c636e"},
        text=[_hover(view, row) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(view: FrontView, row: PlanRow) -> str:
    """A few lines about a plan; names are the user's and no markup."""
    lines = [f"<b>{html.escape(row.label)}</b>", f"{row.key[:8]} · {', '.join(row.roles)}"]
    for metric in view.objectives:
        figure, name = row.figure(metric), html.escape(axis_name(metric))
        if figure.decided is None:
            continue
        if find_metric(metric).kind == "quality":
            test = f", test {figure.test:.3f}" if figure.test is not None else ""
            span = f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None else ""
            lines.append(f"{name}: {figure.decided:.3f} on validation{test}{span}")
        else:
            predicted = f"predicted {number(figure.predicted, metric)}"
            known = figure.measured is not None
            measured = f"measured {cost_text(figure)}, " if known else ""
            lines.append(f"{name}: {measured}{predicted}")
    if row.speedup is not None:
        lines.append(f"{row.speedup.text} as fast as the baseline ({row.speedup.says})")
    if row.feasible != "yes":
        lines.append("feasible: " + html.escape(", ".join((row.feasible, *row.reasons))))
    return "<br>".join(lines)
