"""A layer profile as a PNG: the run as a strip, and the time of each operator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.planner.reports.layer_profile import LayerProfile
from trimtab.planner.reports.plots.style import INK, save_png
from trimtab.planner.reports.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito's colours, which colour-blind people tell apart; what holds weights is plain.
_WEIGHTS = "#a3a9b2"
_WITHOUT = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00")
_OTHERS = "#56b4e9"
_WIDTH, _LEFT, _RIGHT = 9.0, 1.7, 0.2  # inches
_ROW = 0.27
_SHOWN = 14  # operators with a bar of their own
_NAMED = 0.028  # share from which a node in the strip is named


def write_layers(found: LayerProfile, target: Path) -> Path:
    """Draw into a .png file. Raises PlanningError for another, or where it cannot be written."""
    return save_png(lambda: _figure(found), target, "layers")


def _colours(found: LayerProfile) -> dict[str, str]:
    """By operator; those without weights have one each, as far as colours go."""
    without = [each.operator for each in found.operators if not each.weights]
    named = dict(zip(without, _WITHOUT, strict=False))
    return {
        each.operator: _WEIGHTS if each.weights else named.get(each.operator, _OTHERS)
        for each in found.operators
    }


def _figure(found: LayerProfile) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = _ROW * min(len(found.operators), _SHOWN + 1)
    tops = 1.05, 2.4  # of the strip, of the bars
    height = tops[1] + bars + 0.45
    figure = Figure(figsize=(_WIDTH, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    plain: dict[str, Any] = {"color": INK, "parse_math": False}
    x = 0.15 / _WIDTH
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    lines = (
        (0.3, f"{printable(found.model)}: {found.median_ms:.3g} ms, "
         f"{found.share_without_weights:.0%} of it in operators without weights", 12, "bold"),
        (0.54, f"{found.device}, {found.engine}, {threads}", 9.5, "normal"),
        (0.93, "The run, node by node (grey: with weights)", 10, "bold"),
        (tops[1] - 0.17, "The time of each operator", 10, "bold"),
    )  # fmt: skip
    for top, text, size, weight in lines:
        figure.text(x, 1 - top / height, text[:110], fontsize=size, weight=weight, **plain)

    def place(left: float, top: float, tall: float, wide: float) -> Axes:
        box = (left / _WIDTH, (height - top - tall) / height, wide / _WIDTH, tall / height)
        return figure.add_axes(box)

    colours = _colours(found)
    _draw_strip(place(0.15, tops[0], 0.42, _WIDTH - 0.15 - _RIGHT), found, colours)
    _draw_bars(place(_LEFT, tops[1], bars, _WIDTH - _LEFT - 2.6), found, colours)
    return figure


def _draw_strip(axes: Axes, found: LayerProfile, colours: dict[str, str]) -> None:
    """Nodes in their order, as wide as they take long."""
    widths = np.array([node.median_ms for node in found.nodes])
    starts = np.concatenate([[0.0], np.cumsum(widths)[:-1]])
    # Edges of narrow nodes would cover them.
    axes.barh(
        np.zeros(len(widths)),
        widths,
        1.0,
        left=starts,
        color=[colours[node.operator] for node in found.nodes],
        edgecolor="white",
        lw=[0.5 if node.share > 0.01 else 0.0 for node in found.nodes],
    )
    for node, start, width in zip(found.nodes, starts, widths, strict=True):
        room = int(node.share * 130)  # letters that fit
        if node.share >= _NAMED and len(node.operator) <= room:
            axes.text(
                start + width / 2,
                0,
                printable(node.operator),
                ha="center",
                va="center",
                fontsize=8,
                color=INK if node.weights or colours[node.operator] == "#e69f00" else "white",
                parse_math=False,
            )
    axes.set_xlim(0, float(widths.sum()))
    axes.set_ylim(-0.48, 0.48)  # edges of bars lie outside
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=8.5)
    axes.set_xlabel("ms", fontsize=9, labelpad=1)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_bars(axes: Axes, found: LayerProfile, colours: dict[str, str]) -> None:
    """A bar for each operator, the slowest first, and its figures beside."""
    shown = [
        (printable(e.operator), e.share, e.median_ms, e.nodes, colours[e.operator], e.weights)
        for e in found.operators[:_SHOWN]
    ]
    rest = found.operators[_SHOWN:]
    if rest:
        share, ms = sum(e.share for e in rest), sum(e.median_ms for e in rest)
        nodes, weights = sum(e.nodes for e in rest), any(e.weights for e in rest)
        shown.append((f"{len(rest)} others", share, ms, nodes, _OTHERS, weights))
    places = np.arange(len(shown))
    axes.barh(places, [100 * row[1] for row in shown], 0.72, color=[row[4] for row in shown])
    axes.set_yticks(places, [row[0][:20] for row in shown], fontsize=9, parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 100 * max(row[1] for row in shown) * 1.02)
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.tick_params(axis="x", labelsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", color="#e6e8eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    columns = {
        "weights": ["yes" if row[5] else "no" for row in shown],
        "nodes": [str(row[3]) for row in shown],
        "ms": [f"{row[2]:.3f}" for row in shown],
        "share": [f"{row[1]:.1%}" for row in shown],
    }
    wide = _WIDTH - _LEFT - 2.6
    for (name, cells), end in zip(columns.items(), (0.6, 1.15, 1.8, 2.4), strict=True):
        for y, cell in zip((-0.85, *places), (name, *cells), strict=True):
            axes.text(
                1 + end / wide,
                y,
                cell,
                ha="right",
                va="center",
                fontsize=9,
                color=INK,
                weight="bold" if y < 0 else "normal",
                transform=axes.get_yaxis_transform(),
            )
