"""The scatter of a front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from dashboard.markup import escape
from dashboard.pictures import BLUE, GREY, ORANGE, RED, ink, plain_layout, title
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd


def front_picture(
    frame: pd.DataFrame,
    groups: Mapping[str, Any],
    axes: tuple[str, str],
    third: str | None,
    by_size: bool,
    line: Any,
    tested: Any,
) -> go.Figure:
    """A scatter of two objectives. `groups` (rows by a name of LOOKS) are drawn in the order of
    LOOKS; `third` colours or sizes the plans of the front; a line leads over the rows `line`, and
    of the rows `tested` the test value is drawn with its interval."""
    x, y = axes
    figure = go.Figure()
    texts = _hovers(frame, third)
    scale = _scale(frame, third, np.concatenate([groups[name] for name in _ON_FRONT]))
    for name in LOOKS:
        if len(groups[name]):
            rows = groups[name]
            figure.add_trace(_points(frame, name, rows, axes, texts, third, by_size, scale))
    _add_stairs(figure, frame, line, axes)
    _add_tests(figure, frame, tested, axes)
    figure.update_layout(**plain_layout(520, hovermode="closest", dragmode=False))
    if third is not None and not by_size:
        bar = {"title": {"text": title(third), "side": "right"}, "thickness": 10, "len": 0.9}
        figure.update_layout(coloraxis={"colorscale": "Viridis", "colorbar": bar})
    for metric, update in ((x, figure.update_xaxes), (y, figure.update_yaxes)):
        values = frame[metric].to_numpy(float)
        known = values[~np.isnan(values)]
        wide = len(known) > 0 and known.min() > 0 and known.max() / known.min() > 6
        update(title_text=title(metric), automargin=True)
        if wide and find_metric(metric).kind == "cost":
            ticks = [v for v in _TICKS if known.min() / 2 < v < known.max() * 2]
            update(type="log", tickvals=ticks, ticktext=[f"{value:g}" for value in ticks])
    return figure


#: How plans are drawn, those in front last.
LOOKS: dict[str, dict[str, Any]] = {
    "outside the limits": {"size": 5, "color": GREY, "opacity": 0.25},
    "dominated": {"size": 6, "color": GREY, "opacity": 0.6},
    "breaks a constraint": {"size": 8, "color": RED, "symbol": "x-thin-open", "opacity": 0.75},
    "feasibility unknown": {"size": 8, "color": ORANGE, "symbol": "cross-thin-open"},
    "verification failed": {"size": 9, "color": RED, "symbol": "x-open"},
    "front, predicted": {"size": 9, "color": BLUE, "symbol": "circle-open"},
    "front, verified": {"size": 10, "color": BLUE},
    "rival": {"size": 10, "symbol": "square-open"},
    "member": {"size": 11, "symbol": "diamond-open"},
    "baseline": {"size": 13, "symbol": "diamond"},
    "chosen": {"size": 20, "color": RED, "symbol": "star"},
}
#: Characters of a plan's key that a point carries.
KEY = 12
_TICKS = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5)]
_MANY = 1500  # plans from which on WebGL draws them; below, SVG is as fast, and crisper
_ON_FRONT = ("front, predicted", "front, verified")


def _points(
    frame: pd.DataFrame,
    name: str,
    rows: Any,
    axes: tuple[str, str],
    texts: Sequence[str],
    third: str | None,
    by_size: bool,
    scale: tuple[float, float],
) -> go.Scatter | go.Scattergl:
    look = {"color": ink(), **LOOKS[name]}
    if look.get("symbol", "").endswith("-open"):
        look["line"] = {"width": 2}
    if third is not None and name in _ON_FRONT:
        values = frame[third].to_numpy(float)[rows]
        if by_size:
            low, high = scale
            look["size"] = np.nan_to_num(7 + 15 * (values - low) / max(high - low, 1e-12), nan=5)
        else:
            look |= {"color": values, "coloraxis": "coloraxis", "size": 11}
    draw = go.Scattergl if len(frame) > _MANY else go.Scatter
    return draw(
        x=frame[axes[0]].to_numpy(float)[rows],
        y=frame[axes[1]].to_numpy(float)[rows],
        mode="markers",
        name=name,
        marker=look,
        text=[texts[row] for row in rows],
        customdata=[key[:KEY] for key in frame["key"].to_numpy()[rows]],
        hovertemplate=(
            f"%{{text}}<br>{title(axes[0])} %{{x:.4g}} · {title(axes[1])} %{{y:.4g}}"
            "<extra></extra>"
        ),
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": look.get("opacity", 1)}},
    )


def _scale(frame: pd.DataFrame, third: str | None, rows: Any) -> tuple[float, float]:
    if third is None or not len(rows):
        return 0.0, 1.0
    values = frame[third].to_numpy(float)[np.asarray(rows, int)]
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def _hovers(frame: pd.DataFrame, third: str | None) -> list[str]:
    """What each plan is, in one line; the template adds what its axes say."""
    labels = [f"<b>{escape(label)}</b> · {status}" for label, status in _named(frame)]
    if third is None:
        return labels
    name, values = title(third), frame[third].to_numpy(float)
    return [f"{label}<br>{name} {value:.4g}" for label, value in zip(labels, values, strict=True)]


def _named(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    return zip(frame["plan"], frame["status"], strict=True)


def _add_stairs(figure: go.Figure, frame: pd.DataFrame, rows: Any, axes: tuple[str, str]) -> None:
    """The border of what is possible with the plans of the front."""
    if not len(rows):
        return
    x, y = (frame[name].to_numpy(float)[rows] for name in axes)
    order = np.argsort(x)
    figure.add_trace(
        go.Scatter(
            x=x[order],
            y=y[order],
            mode="lines",
            line={"color": BLUE, "width": 1.5, "shape": "hv", "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    )


def _add_tests(figure: go.Figure, frame: pd.DataFrame, rows: Any, axes: tuple[str, str]) -> None:
    """Values on test with their 95 % intervals, at the measured cost where there is one."""
    x, y = axes
    if not len(rows) or f"{y}_test" not in frame:
        return
    part = frame.iloc[rows]
    place = part[x]
    if f"{x}_measured" in part:
        place = part[f"{x}_measured"].fillna(place)
    value = part[f"{y}_test"]
    figure.add_trace(
        go.Scatter(
            x=place,
            y=value,
            mode="markers",
            name="on test, 95 % interval",
            marker={"symbol": "line-ew-open", "size": 11, "color": ink(), "line": {"width": 2}},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": part[f"{y}_high"] - value,
                "arrayminus": value - part[f"{y}_low"],
                "thickness": 1.3,
                "color": GREY,
            },
            customdata=part["key"].str[:KEY],
            text=[
                f"<b>{escape(row['plan'])}</b><br>on test {row[f'{y}_test']:.3f} "
                f"({row[f'{y}_low']:.3f} to {row[f'{y}_high']:.3f})"
                for _, row in part.iterrows()
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )
