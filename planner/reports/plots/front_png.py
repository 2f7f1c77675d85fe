"""A front as a PNG."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_MARKS = {  # colour, marker, its size, opacity of the test interval
    "chosen": (RED, "*", 17, 0.9),
    "baseline": (INK, "D", 8, 0.7),
    "member": (INK, "D", 6, 0.35),
}


def write_png(view: FrontView, rows: Sequence[PlanRow], target: Path | BinaryIO) -> None:
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the picture is still right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        _draw_png(view, rows, target)


def _draw_png(view: FrontView, rows: Sequence[PlanRow], target: Path | BinaryIO) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if logarithmic(view, rows):
        axes.set_xscale("log")
    axes.margins(0.06, 0.06)
    marked = [row for row in rows if special(row)]
    _draw_clouds(axes, view, rows)
    for row in marked:
        _draw_special(axes, view, row)
    _fit(axes, view, rows)
    _dress(axes, view, rows)
    figure.legend(
        fontsize=9, frameon=False, loc="outside lower center", ncols=4, columnspacing=1.4
    )
    figure.draw_without_rendering()  # settles limits and places, which the names depend on
    taken: list[Bbox] = []
    for row in sorted(marked, key=lambda row: list(_MARKS).index(special(row) or "")):
        _name(axes, view, row, taken)
    figure.savefig(target, format="png", metadata={"Software": "trimtab"})


def _fit(axes: Axes, view: FrontView, rows: Sequence[PlanRow]) -> None:
    """An axis of quality as long as plans and their test values need: intervals, which are many
    times longer, run out of the picture."""
    values = [xy[1] for row in rows if (xy := position(view, row))]
    values += [told[1] for row in rows if special(row) and (told := on_test(view, row))]
    if values:
        room = max(0.15 * (max(values) - min(values)), 0.005)
        axes.set_ylim(min(values) - room, max(values) + room)


def _draw_clouds(axes: Axes, view: FrontView, rows: Sequence[PlanRow]) -> None:
    """Dominated plans, the front, and what the front's verified plans were measured to be."""
    grey = [row for row in rows if not row.roles]
    front = [row for row in rows if "front" in row.roles]
    points = [xy for row in grey if (xy := position(view, row))]
    if points:
        axes.plot(*zip(*points, strict=True), "o", ms=4, color=GREY, label="dominated plan")
    for feasible, fill in ((True, BLUE), (False, "white")):
        points = [
            xy for r in front if (r.feasible == "yes") == feasible and (xy := position(view, r))
        ]
        label = "plan on the front" if feasible else "on the front, violates a constraint"
        if points:
            axes.plot(
                *zip(*points, strict=True), "o", ms=6, mfc=fill, mec=BLUE, mew=1, label=label
            )


def _draw_special(axes: Axes, view: FrontView, row: PlanRow) -> None:
    """A plan to be told apart: its estimate, and beside it what test says."""
    role, xy, tested = special(row), position(view, row), on_test(view, row)
    assert xy is not None
    colour, marker, size, fade = _MARKS[role or ""]
    face = "white" if role == "member" else colour
    axes.plot(*xy, marker, ms=size, color=colour, mfc=face, zorder=5)
    if tested:
        x, value, low, high = tested
        axes.plot([xy[0], x], [xy[1], value], ":", color=colour, lw=1, alpha=fade, zorder=3)
        bounds = [[max(0.0, value - low)], [max(0.0, high - value)]]
        bar: dict[str, Any] = {"fmt": "_", "ms": 9, "capsize": 3.5, "lw": 1.2, "alpha": fade}
        axes.errorbar(x, value, bounds, color=colour, zorder=4, **bar)


def _name(axes: Axes, view: FrontView, row: PlanRow, taken: list[Bbox]) -> None:
    """The plan's label beside its mark, on the side where there is room; none over another."""
    from matplotlib.patheffects import withStroke

    role, xy = special(row) or "", position(view, row)
    assert xy is not None
    colour = _MARKS[role][0]
    shown = [name for name in row.roles if name in ("chosen", "baseline")]
    text = f"{', '.join(shown)}: {row.label}" if shown else row.label
    across = axes.transAxes.inverted().transform(axes.transData.transform(xy))[0]
    # Above and left of the front is room for the chosen plan, below and right for the members.
    side, shift = ("right", -9) if across > (0.45 if role == "chosen" else 0.8) else ("left", 9)
    label = axes.annotate(
        _shortened(text, 64 if role == "chosen" else 32),
        xy,
        (shift, 13 if role == "chosen" else -14),
        textcoords="offset points",
        ha=side,
        color=colour,
        fontsize=10 if role == "chosen" else 8.5,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        parse_math=False,
        zorder=6,
    )
    box = label.get_window_extent()
    if any(box.overlaps(other) for other in taken):
        label.remove()
    else:
        taken.append(box)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _dress(axes: Axes, view: FrontView, rows: Sequence[PlanRow]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if logarithmic(view, rows):
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(axis_name(view.cost), fontsize=11)
    told = f"{axis_name(view.quality)} (conservative estimate on validation)"
    axes.set_ylabel(told, fontsize=11, parse_math=False)
    axes.set_title(title_of(view), fontsize=12, loc="left", color=INK, parse_math=False)
    axes.grid(True, color="#e6e8eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    roles = {role for row in rows if (role := special(row))}
    if "chosen" in roles:
        axes.plot([], [], "*", ms=13, color=RED, label="chosen plan")
    if "baseline" in roles:
        axes.plot([], [], "D", ms=6, color=INK, label="baseline")
    if "member" in roles:
        axes.plot([], [], "D", ms=6, color=INK, mfc="white", label="other original models")
    axes.errorbar(
        [],
        [],
        [],
        fmt="_",
        color=INK,
        capsize=4,
        alpha=0.75,
        label="test with 95 % interval",
    )
