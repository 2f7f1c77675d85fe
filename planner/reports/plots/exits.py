"""The exits of a plan's inputs, and the time line of its test stream, as a PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.db import PlanRecord, Store
from trimtab.planner.jobs.stored_plans import plan_definition
from trimtab.planner.reports.plan.report import ExitView, PlanReport, report_plan
from trimtab.planner.reports.plots.style import INK, save_png
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.reports.text import printable
from trimtab.planner.selection.breakdowns import BY
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.memory import kernel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ints = NDArray[np.int64]

#: Frames of the time line: so many strips, one below the other, of so many frames.
STRIPS, STRIP = 2, 150
#: Okabe & Ito's colours, which colour-blind people tell apart; the network is plain.
_COLOURS = {
    "network": "#a3a9b2",
    "thumbnails": "#0072b2",
    "instances": "#e69f00",
    "centres": "#009e73",
    "heads": "#cc79a7",
}
_WIDTH, _LEFT, _RIGHT = 9.0, 1.8, 0.2  # inches
_BARS = 3.3  # width of the bars
_ROW, _LEVEL = 0.26, 0.135  # height of a bar's row, and of a place in the time line
_NAMED = 12  # places of a time line that are all named


@dataclass(frozen=True)
class ExitPicture:
    """What is drawn of a plan: the rows of its exit table, and the first frames of its test
    stream: who answered (kernel.NETWORK ...), on which of the `levels` (names of places in the
    order in which a frame passes them), whether that was wrong (None without labels), and where a
    block of the stream begins (None where nearly every frame begins one)."""

    label: str
    told: str
    rows: tuple[ExitView, ...]
    levels: tuple[str, ...]
    by: Ints
    level: Ints
    wrong: Ints | None
    borders: Ints | None


def exit_picture(store: Store, plan: PlanRecord) -> ExitPicture:
    """The exits of a plan's inputs, from the store. Raises PlanningError for a plan without early
    exits, and for one whose bundle did not run on the device."""
    found = report_plan(store, plan)
    name = f"plan {plan.key[:8]} ({found.row.label})"
    if not found.exits:
        raise PlanningError(
            f"{name} has no early exits, so there is nothing to plot; `trimtab front` lists the "
            "plans that have, if the job's techniques include exits or memory"
        )
    if found.failure is not None:
        raise PlanningError(f"{name} could not be verified: {found.failure}")
    records = {record.plan_key: record for record in store.list_verifications(found.job_id)}
    record = records.get(plan.key)
    if record is None:
        raise PlanningError(
            f"{name} was not verified, so its time line is unknown; plot a plan with status "
            "'verified', or raise `verify` in the specification and run the job again"
        )
    frames = record.details.get("frames")
    if not frames:
        raise PlanningError(
            f"{name} was verified by an older Trimtab that did not keep the answers frame by "
            "frame; run the job again in a new store"
        )
    shown = {key: np.array(frames[key][: STRIPS * STRIP], np.int64) for key in frames}
    structure = plan_definition(plan).structure
    levels = ["input"] * bool(structure.memory.thumbnails)
    first = len(levels)
    levels += [printable(tap.name) for tap in structure.taps]
    levels.append("end" if len(structure.stages) == 1 else "end of a stage")
    at_end = shown["by"] == kernel.NETWORK
    level = np.where(shown["by"] == kernel.THUMBNAILS, 0, shown["tap"] + first)
    level[at_end] = len(levels) - 1
    return ExitPicture(
        found.row.label,
        _told(found),
        found.exits,
        tuple(levels),
        shown["by"],
        level,
        1 - shown["right"] if "right" in shown else None,
        _borders(shown.get("block")),
    )


def write_exits(picture: ExitPicture, target: Path) -> Path:
    """Draw into a .png file. Raises PlanningError for another, or where it cannot be written."""
    return save_png(lambda: _figure(picture), target, "a plan")


def _told(found: PlanReport) -> str:
    """How fast its bundle was."""
    parts, row = [], found.row
    measured = found.verified.get(LATENCY)
    if measured is not None:
        parts.append(f"{measured:.3g} ms a frame (measured)")
    if row.speedup is not None and "baseline" not in row.roles:
        parts.append(f"{row.speedup.text} the baseline's speed ({row.speedup.says})")
    return "; ".join([*parts, f"job {found.job_name}"])


def _borders(blocks: Ints | None) -> Ints | None:
    """Frames at which another block begins, where blocks last."""
    if blocks is None:
        return None
    found = np.flatnonzero(np.diff(blocks)) + 1
    return found if len(found) <= len(blocks) / 5 else None


def _figure(picture: ExitPicture) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strips = -(-len(picture.by) // STRIP)
    bars, strip = _ROW * len(picture.rows), max(0.75, _LEVEL * (len(picture.levels) + 1.5))
    gaps = 1.15, 0.8, 0.42, 0.8  # above the bars, between, between strips, below
    height = gaps[0] + bars + gaps[1] + strips * strip + (strips - 1) * gaps[2] + gaps[3]
    figure = Figure(figsize=(_WIDTH, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)

    def place(top: float, tall: float, wide: float) -> Axes:
        box = (_LEFT / _WIDTH, (height - top - tall) / height, wide / _WIDTH, tall / height)
        return figure.add_axes(box)

    plain: dict[str, Any] = {"color": INK, "parse_math": False}
    x = 0.15 / _WIDTH
    figure.text(x, 1 - 0.3 / height, _ends(picture.label, 84), fontsize=12, weight="bold", **plain)
    figure.text(x, 1 - 0.54 / height, _ends(picture.told, 110), fontsize=9.5, **plain)
    _draw_bars(place(gaps[0], bars, _BARS), picture)
    top = gaps[0] + bars + gaps[1]
    figure.text(
        x,
        1 - (top - 0.2) / height,
        f"The first {len(picture.by)} frames of the test stream, as answered by the bundle on "
        "the device",
        fontsize=10,
        weight="bold",
        color=INK,
    )
    for number in range(strips):
        axes = place(top, strip, _WIDTH - _LEFT - _RIGHT)
        _draw_strip(axes, picture, number * STRIP)
        top += strip + gaps[2]
    axes.set_xlabel("frame", fontsize=9)
    _legend(figure, picture)
    return figure


def _draw_bars(axes: Axes, picture: ExitPicture) -> None:
    """A bar for each place where inputs stop, and its figures in columns beside."""
    from matplotlib.ticker import MaxNLocator

    rows, places = picture.rows, np.arange(len(picture.rows))
    colours = [_COLOURS[row.by] for row in rows]
    axes.barh(places, [100 * row.share for row in rows], 0.72, color=colours)
    axes.set_yticks(places, [_tail(row.where, 22) for row in rows], fontsize=9, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100 * max(row.share for row in rows) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.tick_params(axis="x", labelsize=8.5)
    axes.grid(True, axis="x", color="#e6e8eb", lw=0.8)
    labelled = picture.wrong is not None
    columns = {
        "answered by": [row.by for row in rows],
        "share": [f"{row.share:.1%}" for row in rows],
        "accuracy" if labelled else "agrees with\nfull network": [
            f"{row.right:.1%}" for row in rows
        ],
        "full network\naccuracy": [f"{row.full_right:.1%}" for row in rows] if labelled else [],
        "ms to\nexit": [f"{row.spent_ms:#.3g}" for row in rows],
    }
    ends = np.array([1.05, 1.7, 2.3, 3.0, 3.8]) / _BARS + 1
    for (name, cells), x in zip(columns.items(), ends, strict=True):
        if cells:
            for y, cell in zip((-0.75, *places), (name, *cells), strict=True):
                weight, side = ("bold", "bottom") if y < 0 else ("normal", "center")
                axes.text(
                    x,
                    y,
                    cell,
                    ha="right",
                    fontsize=9,
                    color=INK,
                    weight=weight,
                    va=side,
                    transform=axes.get_yaxis_transform(),
                )
    axes.text(
        -_LEFT / _BARS + 0.15 / _BARS,
        -0.75,
        "Exits of the test inputs",
        fontsize=10,
        weight="bold",
        va="bottom",
        color=INK,
        transform=axes.get_yaxis_transform(),
    )
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_strip(axes: Axes, picture: ExitPicture, start: int) -> None:
    """Frames from `start` on: as high as they came, wrong ones marked above."""
    frames = np.arange(start, min(start + STRIP, len(picture.by)))
    top = len(picture.levels)
    colours = [_COLOURS[BY[int(by)]] for by in picture.by[frames]]
    heights = picture.level[frames] + 1
    # Neighbours touch: blurred edges would draw lines between them.
    axes.bar(frames, heights - 0.3, 1.0, color=colours, lw=0, antialiased=False)
    if picture.borders is not None:
        own = [b for b in picture.borders if start < b <= frames[-1]]
        axes.vlines(np.array(own) - 0.5, 0, top + 1.0, color=INK, lw=0.7)
    if picture.wrong is not None:
        wrong = frames[picture.wrong[frames] == 1]
        axes.plot(wrong, np.full(len(wrong), top + 0.5), "x", ms=5, mew=1.4, color="#b3261e")
    step = -(-top // _NAMED)
    named = [n for n in range(top) if n % step == 0 or n == top - 1]
    axes.set_yticks(
        [n + 0.7 for n in named],
        [_tail(picture.levels[n], 24) for n in named],
        fontsize=7.5,
        parse_math=False,
    )
    axes.set_xlim(start - 0.5, start + STRIP - 0.5)
    axes.set_ylim(0, top + 1.0)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.tick_params(axis="y", length=2)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, picture: ExitPicture) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = {row.by for row in picture.rows} | {BY[int(by)] for by in picture.by}
    handles: list[Patch | Line2D] = [
        Patch(color=colour, label=name) for name, colour in _COLOURS.items() if name in shown
    ]
    if picture.wrong is not None:
        mark: dict[str, Any] = {"color": "#b3261e", "marker": "x", "ms": 6, "mew": 1.4, "ls": ""}
        handles.append(Line2D([], [], label="wrong answer", **mark))
    if picture.borders is not None:
        handles.append(Line2D([], [], color=INK, lw=0.8, label="start of a block of the stream"))
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        fontsize=9,
        frameon=False,
        columnspacing=1.3,
        handlelength=1.2,
    )


def _ends(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _tail(text: str, longest: int) -> str:
    """Names of tensors differ at their ends."""
    return text if len(text) <= longest else "…" + text[1 - longest :]
