"""What int8 does to each block, as a PNG: errors to the left, times to the right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.planner.reports.int8_blocks import BlockProfile
from trimtab.planner.reports.plots.style import BLUE, GREY, INK, RED, save_png
from trimtab.planner.reports.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _ROW, _EDGE = 9.5, 0.3, 1.5  # inches
_LETTERS = 44


def write_blocks(found: BlockProfile, target: Path) -> Path:
    """Draw into a .png file. Raises PlanningError for another, or where it cannot be written."""
    return save_png(lambda: _figure(found), target, "blocks")


def _figure(found: BlockProfile) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = _EDGE + _ROW * len(found.blocks)
    figure = Figure(figsize=(_WIDTH, height), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    title = (
        f"{printable(found.model)} in int8: error {found.error:.2g}, "
        f"{found.float_ms:.3g} ms in float, {found.int8_ms:.3g} ms in int8"
    )
    figure.suptitle(title, fontsize=11, weight="bold", color=INK, parse_math=False)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(found.blocks))
    left.barh(rows, [each.error or 0.0 for each in found.blocks], 0.7, color=RED)
    left.set_xlabel("error when it alone is int8 (share of the scores' variance)", fontsize=8.5)
    right.barh(rows - 0.19, [each.float_ms for each in found.blocks], 0.36, color=GREY)
    right.barh(rows + 0.19, [each.int8_ms for each in found.blocks], 0.36, color=BLUE)
    right.set_xlabel("ms, in float (grey) and in int8 (blue)", fontsize=8.5)
    labels = [printable(each.label)[:_LETTERS] for each in found.blocks]
    left.set_yticks(rows, labels, fontsize=7.5, parse_math=False)
    left.invert_yaxis()
    for axes in (left, right):
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
