"""Plotly pictures. Names in them are escaped: Plotly reads a little HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import streamlit as st

from trimtab.dashboard.markup import escape
from trimtab.planner.reports.plan.waterfall import WaterfallBar
from trimtab.planner.reports.plots.style import axis_name

if TYPE_CHECKING:
    import pandas as pd

#: Okabe & Ito's blue, vermilion, green and orange, and greys that are seen on light and on dark.
BLUE, RED, GREEN, ORANGE, GREY = "#3d8fe0", "#e0453a", "#23a566", "#d98a10", "#98a1ad"
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def ink() -> str:
    """What stands out: the colour of text."""
    return "#e6e9ee" if is_dark() else "#20242a"


def is_dark() -> bool:
    return st.context.theme.type == "dark"


def title(metric: str) -> str:
    """A metric with its unit, escaped."""
    return escape(axis_name(metric))


def plain_layout(height: int, **changes: Any) -> dict[str, Any]:
    """What all pictures share."""
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "title": None},
        "hoverlabel": {"align": "left"},
        **changes,
    }


def waterfall_picture(steps: Sequence[WaterfallBar]) -> go.Figure:
    """Milliseconds from the baseline to the plan, top to bottom."""
    labels = [f"{number}. {wrapped(step.label, 30)}" for number, step in enumerate(steps)]
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            y=labels,
            x=[step.ms if n == 0 or step.kind == "change" else 0 for n, step in enumerate(steps)],
            measure=[
                "absolute" if number == 0 else "relative" if step.kind == "change" else "total"
                for number, step in enumerate(steps)
            ],
            text=[
                f"{step.ms:+.3g} ms" if step.kind == "change" else f"{step.ms:.3g} ms"
                for step in steps
            ],
            textposition="auto",
            increasing={"marker": {"color": ORANGE}},
            decreasing={"marker": {"color": GREEN}},
            totals={"marker": {"color": BLUE}},
            connector={"line": {"color": GREY, "width": 1}},
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    figure.update_layout(**plain_layout(90 + 46 * len(steps), showlegend=False))
    figure.update_yaxes(
        autorange="reversed",
        automargin=True,
        tickvals=labels,
        ticktext=[label.partition(". ")[2] for label in labels],
    )
    figure.update_xaxes(title_text="mean latency, ms", rangemode="tozero", automargin=True)
    return figure


def wrapped(text: str, width: int) -> str:
    """Escaped, in lines of about this width."""
    import textwrap

    return "<br>".join(escape(line) for line in textwrap.wrap(text, width) or [""])


def class_picture(frame: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """The recall of each class (`frame`: a row a class) with the number of its inputs, a bar for
    each of the plans `names`."""
    figure = go.Figure()
    colours = [BLUE, GREY, ORANGE, GREEN]
    for name, colour in zip(names, colours, strict=False):
        figure.add_trace(
            go.Bar(
                y=[
                    escape(f"{text} ({count})")
                    for text, count in zip(frame["class"], frame["inputs"], strict=True)
                ],
                x=frame[name],
                name=wrapped(name, 40),
                orientation="h",
                marker={"color": colour},
                hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            )
        )
    height = 110 + len(frame) * (14 * len(names) + 12)
    figure.update_layout(**plain_layout(height, barmode="group"))
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(tickformat=".0%", range=[0, 1.0], title_text="recall on test")
    return figure


def samples_picture(frame: pd.DataFrame) -> go.Figure:
    """Raw samples of a measurement, in the order in which they were taken."""
    figure = go.Figure()
    colours = [BLUE, ORANGE, GREY, GREEN, RED]
    for (name, part), colour in zip(frame.groupby("what", sort=False), colours, strict=False):
        figure.add_trace(
            go.Scatter(
                x=part["share"],
                y=part["ms"],
                mode="markers",
                name=escape(name),
                marker={"size": 5, "color": colour, "opacity": 0.8},
                hovertemplate="%{y:.3g} ms<extra></extra>",
            )
        )
    figure.update_layout(**plain_layout(320))
    figure.update_xaxes(title_text="share of the measurement", tickformat=".0%", automargin=True)
    figure.update_yaxes(title_text="ms", rangemode="tozero", automargin=True)
    return figure


def layers_picture(frame: pd.DataFrame) -> go.Figure:
    """The time of each operator."""
    colours = [BLUE if weights else ORANGE for weights in frame["weights"]]
    figure = go.Figure(
        go.Bar(
            y=[escape(text) for text in frame["operator"]],
            x=frame["median_ms"],
            orientation="h",
            marker={"color": colours},
            text=[f"{share:.1%}" for share in frame["share"]],
            hovertemplate="%{y}: %{x:.3g} ms<extra></extra>",
        )
    )
    figure.update_layout(**plain_layout(100 + 28 * len(frame), showlegend=False))
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title_text="median ms of a run", automargin=True)
    return figure


def devices_picture(fronts: Mapping[str, pd.DataFrame], axes: tuple[str, str]) -> go.Figure:
    """The fronts of several devices in one picture."""
    figure = go.Figure()
    colours = [BLUE, ORANGE, GREEN, RED, GREY]
    for (name, frame), colour in zip(fronts.items(), colours * 9, strict=False):
        part = frame.sort_values(axes[0])
        figure.add_trace(
            go.Scatter(
                x=part[axes[0]],
                y=part[axes[1]],
                mode="lines+markers",
                line={"shape": "hv", "dash": "dot", "width": 1, "color": colour},
                marker={"size": 8, "color": colour},
                name=escape(name),
                text=[escape(text) for text in part["plan"]],
                hovertemplate="<b>%{text}</b><br>%{x:.4g}, %{y:.4g}<extra></extra>",
            )
        )
    figure.update_layout(**plain_layout(420))
    figure.update_xaxes(title_text=title(axes[0]), type="log", automargin=True)
    figure.update_yaxes(title_text=title(axes[1]), automargin=True)
    return figure
