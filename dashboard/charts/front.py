"""The scatter of a front, as an option of Apache ECharts.

A browser loads less code for it than for Plotly, and draws thousands of plans on one canvas. What
users named gets into it as data alone, which ECharts and Streamlit show as text; only the
templates of hovers are HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.dashboard.charts.colour_scale import colour_bar, hue, positions
from trimtab.dashboard.charts.figures import BLUE, GREY, ORANGE, RED, ink, title
from trimtab.planner.reports.plots.style import axis_name
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 520
TESTED = "on test, 95 % interval"
_CROSS, _PLUS = "path://M0,0L10,10M10,0L0,10", "path://M5,0L5,10M0,5L10,5"
_STAR = "path://M10,0L12.4,7.1H20L13.9,11.6L16.2,19L10,14.4L3.8,19L6.1,11.6L0,7.1H7.6Z"
#: How plans are drawn, those in front last. `hollow` ones have an outline only.
LOOKS: dict[str, dict[str, Any]] = {
    "outside the limits": {"size": 5, "color": GREY, "opacity": 0.25},
    "dominated": {"size": 6, "color": GREY, "opacity": 0.6},
    "violates a constraint": {
        "size": 7, "color": RED, "symbol": _CROSS, "hollow": 1.3, "opacity": 0.75
    },
    "feasibility unknown": {"size": 8, "color": ORANGE, "symbol": _PLUS, "hollow": 1.3},
    "verification failed": {"size": 9, "color": RED, "symbol": _CROSS, "hollow": 3},
    "front, predicted": {"size": 9, "color": BLUE, "hollow": 2},
    "front, verified": {"size": 11, "color": BLUE},
    "rival": {"size": 11, "symbol": "rect", "hollow": 2},
    "member": {"size": 13, "symbol": "diamond", "hollow": 2},
    "baseline": {"size": 16, "symbol": "diamond"},
    "chosen": {"size": 22, "color": RED, "symbol": _STAR},
}  # fmt: skip
_TICKS = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5)]
_ON_FRONT = ("front, predicted", "front, verified")
_DIMENSIONS, _TEXTS = ("x", "y", "third"), ("plan", "status")
_TEST = ("test", "low", "high")
#: Plans whose names stand beside them, and on which side.
_NAMED = {"chosen": "top", "baseline": "bottom", "member": "bottom"}
_NARROW = 600  # pixels; pictures below are laid out as on a telephone
_LEGEND_LINE = 22  # pixels


@dataclass(frozen=True)
class Picture:
    """`option` is what ECharts draws, `rows` are the rows of the table that each series shows, by
    its id, and `alt` says it in words."""

    option: dict[str, Any]
    rows: Mapping[str, Any]
    alt: str


def front_picture(
    frame: pd.DataFrame,
    groups: Mapping[str, Any],
    axes: tuple[str, str],
    third: str | None,
    by_size: bool,
    line: Any,
    tested: Any,
) -> Picture:
    """A scatter of two objectives. `groups` (rows by a name of LOOKS) are drawn in the order of
    LOOKS; `third` colours or sizes the plans of the front; a line leads over the rows `line`, and
    of the rows `tested` the test value is drawn with its interval."""
    place = frame[list(axes)].to_numpy(float)
    known = ~np.isnan(place).any(axis=1)
    shown = {name: groups[name][known[groups[name]]] for name in LOOKS}
    shown = {name: rows for name, rows in shown.items() if len(rows)}
    scale = _scale(frame, third, shown)
    series = [_stairs(place[line])] if len(line) else []
    for name, rows in shown.items():
        series.append(_points(frame, name, rows, axes, third, by_size, scale))
    tests, shown[TESTED] = _tests(frame, tested, axes)
    series += tests
    tested_at = frame.iloc[shown[TESTED]].get(f"{axes[1]}_test", np.empty(0))
    option = {
        "animation": False,
        "xAxis": _axis(axes[0], place[:, 0], nameGap=28),
        "yAxis": _axis(axes[1], np.concatenate([place[known, 1], tested_at]), nameGap=44),
        "tooltip": {"confine": True, "trigger": "item"},
        "dataZoom": [
            {"type": "inside", axis: 0, "filterMode": "none", "preventDefaultMouseMove": False}
            for axis in ("xAxisIndex", "yAxisIndex")
        ],
        "series": series,
        **_around([each["name"] for each in series if "name" in each]),
    }
    if third is not None and not by_size and scale is not None:
        option["visualMap"] = colour_bar(scale, ink())
        option["title"] = _bar_title(third)
        option["grid"]["right"] = 70
    front = sum(len(shown.get(name, ())) for name in _ON_FRONT)
    parts = ", ".join(f"{len(rows)} {name}" for name, rows in shown.items() if len(rows))
    alt = f"{axis_name(axes[1])} over {axis_name(axes[0])}: {front} plans on the front; {parts}"
    return Picture(option, shown, alt)


def _points(
    frame: pd.DataFrame,
    name: str,
    rows: Any,
    axes: tuple[str, str],
    third: str | None,
    by_size: bool,
    scale: tuple[float, float] | None,
) -> dict[str, Any]:
    look = {"color": ink(), "symbol": "circle", "opacity": 1.0, **LOOKS[name]}
    told = [frame[metric].to_numpy(float)[rows] for metric in (*axes, *([third] if third else []))]
    columns = [*map(_rounded, told), *(frame[c].to_numpy()[rows].tolist() for c in _TEXTS)]
    data: list[Any] = list(zip(*columns, strict=True))
    if third is not None and scale is not None and name in _ON_FRONT:
        shares = positions(told[2], scale)
        if by_size:
            sizes = np.nan_to_num(7 + 15 * shares, nan=5).tolist()
            data = [{"value": v, "symbolSize": s} for v, s in zip(data, sizes, strict=True)]
        else:
            hues = [hue(share) for share in shares]
            data = [
                {"value": v, "itemStyle": _style({**look, "color": hue})}
                for v, hue in zip(data, hues, strict=True)
            ]
    return {
        "type": "scatter",
        "id": name,
        "name": name,
        "dimensions": [*_DIMENSIONS[: len(told)], *_TEXTS],
        "data": data,
        "symbol": look["symbol"],
        "symbolSize": look["size"],
        "itemStyle": _style(look),
        "emphasis": {"itemStyle": {"opacity": 1}},
        "selectedMode": "single",
        "select": {"itemStyle": _style(look)},
        "tooltip": {"formatter": _hover(axes, third)},
        **_label(name),
    }


def _label(name: str) -> dict[str, Any]:
    """The names of the plans that matter, where there is room."""
    if name not in _NAMED:
        return {}
    text = {"formatter": "{@plan}", "position": _NAMED[name], "color": ink(), "fontSize": 12}
    text |= {"width": 200, "overflow": "truncate", "distance": 8}
    return {"label": {"show": True, **text}, "labelLayout": {"hideOverlap": True}}


def _bar_title(metric: str) -> dict[str, Any]:
    """What the colours are, below their bar."""
    style = {"fontSize": 11, "fontWeight": "normal", "color": ink()}
    return {"text": axis_name(metric), "right": 0, "bottom": 0, "textStyle": style}


def _style(look: Mapping[str, Any]) -> dict[str, Any]:
    if "hollow" not in look:
        return {"color": look["color"], "opacity": look["opacity"]}
    return {
        "color": "transparent",
        "borderColor": look["color"],
        "borderWidth": look["hollow"],
        "opacity": look["opacity"],
    }


def _hover(axes: tuple[str, str], third: str | None) -> str:
    """What a plan is in one line, then its figures. ECharts and Streamlit fill in values as
    text."""
    told = [f"{title(axes[0])} {{@x}}", f"{title(axes[1])} {{@y}}"]
    if third is not None:
        told.append(f"{title(third)} {{@third}}")
    return f"<b>{{@plan}}</b> · {{@status}}<br>{' · '.join(told)}"


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Five digits, which is finer than a pixel and what a hover shows; unknown is None."""
    return [None if value != value else float(f"{value:.5g}") for value in values]


def _scale(
    frame: pd.DataFrame, third: str | None, shown: Mapping[str, Any]
) -> tuple[float, float] | None:
    """The least and largest value of the third metric on the front; None where none is known."""
    found = [frame[third].to_numpy(float)[shown[n]] for n in _ON_FRONT if third and n in shown]
    known = np.concatenate([np.empty(0), *found])
    known = known[~np.isnan(known)]
    return (float(known.min()), float(known.max())) if len(known) else None


def _axis(metric: str, values: Any, **more: Any) -> dict[str, Any]:
    """As long as the plans need: intervals of test values, which are many times longer, run out of
    the picture. Costs that span much are drawn by their logarithm."""
    known = values[~np.isnan(values)]
    axis = {"name": axis_name(metric), "nameLocation": "middle", "scale": True, **more}
    axis |= {"axisLabel": {"color": ink()}, "nameTextStyle": {"color": ink()}}
    wide = len(known) > 0 and known.min() > 0 and known.max() / known.min() > 6
    if not wide or find_metric(metric).kind != "cost":
        return {**axis, "type": "value", **_ends(known)}
    low, high = known.min() / 1.15, known.max() * 1.15
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    marks = {"axisTick": {"customValues": ticks}}
    marks["axisLabel"] = {"customValues": ticks, **axis["axisLabel"]}
    return {**axis, "type": "log", "min": float(low), "max": float(high), **marks}


def _ends(known: Any) -> dict[str, float]:
    """Round ends of an axis, with a little room around the values."""
    if not len(known):
        return {}
    low, high = float(known.min()), float(known.max())
    room = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(2 * room))
    digits = max(0, 1 - math.floor(math.log10(step)))
    ends = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    return {"min": round(ends[0], digits), "max": round(ends[1], digits)}


def _stairs(points: Any) -> dict[str, Any]:
    """The border of what is possible with the plans of the front."""
    ordered = points[np.argsort(points[:, 0])]
    return {
        "type": "line",
        "id": "stairs",
        "data": [_rounded(point) for point in ordered],
        "step": "end",
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": BLUE, "width": 1.5, "type": "dotted"},
    }


def _tests(
    frame: pd.DataFrame, rows: Any, axes: tuple[str, str]
) -> tuple[list[dict[str, Any]], Any]:
    """Values on test with their 95 % intervals, at the measured cost where there is one; and the
    rows of them."""
    x, y = axes
    if f"{y}_test" not in frame:
        return [], rows[:0]
    rows = rows[frame[f"{y}_test"].notna().to_numpy()[rows]]
    part = frame.iloc[rows]
    place = part[x]
    if f"{x}_measured" in part:
        place = part[f"{x}_measured"].fillna(place)
    where, value, low, high = (
        _rounded(column) for column in (place, *(part[f"{y}_{n}"] for n in _TEST))
    )
    ends = [p for at, *span in zip(where, low, high, strict=True) for p in _span(at, *span)]
    data = list(zip(where, value, low, high, part["plan"], strict=True))
    template = f"<b>{{@plan}}</b><br>{title(y)} on test {{@y}} ({{@low}} to {{@high}})"
    points = {
        "type": "scatter",
        "id": TESTED,
        "name": TESTED,
        "dimensions": ["x", "y", "low", "high", "plan"],
        "encode": {"x": "x", "y": "y"},
        "data": data,
        "symbol": "rect",
        "symbolSize": [13, 3],
        "itemStyle": {"color": ink(), "opacity": 1},
        "selectedMode": "single",
        "tooltip": {"formatter": template},
    }
    lines = {
        "type": "line",
        "id": "intervals",
        "data": ends,
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": GREY, "width": 1.5},
    }
    return ([lines, points] if data else []), rows


def _span(at: float | None, low: float | None, high: float | None) -> list[Any]:
    """A vertical line, apart from the next one."""
    return [] if low is None or high is None else [[at, low], [at, high], [None, None]]


def _around(names: Sequence[str]) -> dict[str, Any]:
    """The legend, and the picture below as many lines as it takes, wide and narrow."""
    wide, narrow = (_legend_lines(names, width) for width in (800, 330))
    legend: dict[str, Any] = {"top": 0, "left": 0, "right": 0, "itemWidth": 14}
    legend |= {"data": list(names), "textStyle": {"color": ink()}}
    place = {"left": 8, "right": 16, "bottom": 8}
    return {
        "legend": legend,
        "grid": {**place, "top": 14 + _LEGEND_LINE * wide},
        "media": [
            {
                "query": {"maxWidth": _NARROW},
                "option": {"grid": {"top": 14 + _LEGEND_LINE * narrow}},
            },
        ],
    }


def _legend_lines(names: Sequence[str], width: int) -> int:
    lines, filled = 1, 0.0
    for name in names:
        needed = 34 + 6.2 * len(name)
        if filled + needed > width:
            lines, filled = lines + 1, 0.0
        filled += needed
    return lines
