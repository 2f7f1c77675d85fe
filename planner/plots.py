"""A front as a picture: an interactive HTML page, or a PNG."""

from __future__ import annotations

import html
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.views import FrontView, PlanRow, printable
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric, recalled_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_BLUE, _RED, _INK, _GREY = "#2f6fb0", "#c8372d", "#20242a", "#b9bec6"
_NAMES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "macro_f1": "macro F1",
    "agreement": "agreement with the reference",
    "latency_mean_ms": "mean latency, ms",
    "peak_memory_mb": "peak memory, MB",
    "bundle_size_mb": "size, MB",
    "energy_mean_mj": "energy, mJ",
}


def write_plot(view: FrontView, rows: Sequence[PlanRow], target: Path) -> Path:
    """Draw `rows` into a .html or .png file. Raises PlanningError for any other."""
    writers = {".html": _write_html, ".png": _write_png}
    writer = writers.get(target.suffix.lower())
    if writer is None:
        raise PlanningError(f"{target}: a plot ends in .html or .png")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer(view, [row for row in rows if _xy(view, row)], target)
    except OSError as error:
        raise PlanningError(f"{target}: cannot be written ({error.strerror})") from error
    return target


def axis_name(metric: str) -> str:
    """A metric with its unit, for people."""
    of = recalled_class(metric)
    if of is not None:
        return f"recall of {printable(of)}"
    return _NAMES.get(metric, metric.replace("_", " "))


def _xy(view: FrontView, row: PlanRow) -> tuple[float, float] | None:
    x, y = row.figure(view.cost).decided, row.figure(view.quality).decided
    return None if x is None or y is None else (x, y)


def _tested(view: FrontView, row: PlanRow) -> tuple[float, float, float, float] | None:
    """Cost (measured, else predicted), and the test value with its interval."""
    cost, quality = row.figure(view.cost), row.figure(view.quality)
    x = cost.measured if cost.measured is not None else cost.decided
    if x is None or quality.test is None or quality.low is None or quality.high is None:
        return None
    return x, quality.test, quality.low, quality.high


def _special(row: PlanRow) -> str | None:
    return next((role for role in ("chosen", "baseline", "member") if role in row.roles), None)


def _logarithmic(view: FrontView, rows: Sequence[PlanRow]) -> bool:
    costs = [xy[0] for row in rows if (xy := _xy(view, row))]
    return bool(costs) and min(costs) > 0 and max(costs) / min(costs) > 6


def _title(view: FrontView) -> str:
    return f"{view.job_name} on {view.device}"


_MARKS = {  # colour, marker, its size, opacity of the test interval
    "chosen": (_RED, "*", 17, 0.9),
    "baseline": (_INK, "D", 8, 0.7),
    "member": (_INK, "D", 6, 0.35),
}

# ---- PNG -------------------------------------------------------------------------------------


def _write_png(view: FrontView, rows: Sequence[PlanRow], target: Path) -> None:
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the picture is still right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        _draw_png(view, rows, target)


def _draw_png(view: FrontView, rows: Sequence[PlanRow], target: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if _logarithmic(view, rows):
        axes.set_xscale("log")
    axes.margins(0.06, 0.06)
    special = [row for row in rows if _special(row)]
    _draw_clouds(axes, view, rows)
    for row in special:
        _draw_special(axes, view, row)
    _dress(axes, view, rows)
    figure.legend(
        fontsize=9, frameon=False, loc="outside lower center", ncols=4, columnspacing=1.4
    )
    figure.draw_without_rendering()  # settles limits and places, which the names depend on
    taken: list[Bbox] = []
    for row in sorted(special, key=lambda row: list(_MARKS).index(_special(row) or "")):
        _name(axes, view, row, taken)
    figure.savefig(target, format="png", metadata={"Software": "trimtab"})


def _draw_clouds(axes: Axes, view: FrontView, rows: Sequence[PlanRow]) -> None:
    """Dominated plans, the front, and what the front's verified plans were measured to be."""
    grey = [row for row in rows if not row.roles]
    front = [row for row in rows if "front" in row.roles]
    points = [xy for row in grey if (xy := _xy(view, row))]
    if points:
        axes.plot(*zip(*points, strict=True), "o", ms=4, color=_GREY, label="dominated plan")
    for feasible, fill in ((True, _BLUE), (False, "white")):
        points = [xy for r in front if (r.feasible == "yes") == feasible and (xy := _xy(view, r))]
        label = "plan on the front" if feasible else "on the front, breaks a constraint"
        if points:
            axes.plot(
                *zip(*points, strict=True), "o", ms=6, mfc=fill, mec=_BLUE, mew=1, label=label
            )


def _draw_special(axes: Axes, view: FrontView, row: PlanRow) -> None:
    """A plan to be told apart: its estimate, and beside it what test says."""
    role, xy, tested = _special(row), _xy(view, row), _tested(view, row)
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

    role, xy = _special(row) or "", _xy(view, row)
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

    if _logarithmic(view, rows):
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(axis_name(view.cost), fontsize=11)
    told = f"{axis_name(view.quality)} (guarded estimate on tune)"
    axes.set_ylabel(told, fontsize=11, parse_math=False)
    axes.set_title(_title(view), fontsize=12, loc="left", color=_INK, parse_math=False)
    axes.grid(True, color="#e6e8eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    roles = {role for row in rows if (role := _special(row))}
    if "chosen" in roles:
        axes.plot([], [], "*", ms=13, color=_RED, label="chosen plan")
    if "baseline" in roles:
        axes.plot([], [], "D", ms=6, color=_INK, label="baseline")
    if "member" in roles:
        axes.plot([], [], "D", ms=6, color=_INK, mfc="white", label="other members, as they came")
    axes.errorbar(
        [], [], [], fmt="_", color=_INK, capsize=4, alpha=0.75, label="test with 95 % interval"
    )


# ---- HTML ------------------------------------------------------------------------------------


def _write_html(view: FrontView, rows: Sequence[PlanRow], target: Path) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    groups = {
        "dominated plan": [row for row in rows if not row.roles],
        "plan on the front": [row for row in rows if row.roles == ("front",)],
        "other members": [row for row in rows if _special(row) == "member"],
        "baseline": [row for row in rows if _special(row) == "baseline"],
        "chosen plan": [row for row in rows if _special(row) == "chosen"],
    }
    for name, members in groups.items():
        if members:
            figure.add_trace(_estimates(go, view, name, members))
    tested = [row for row in rows if _special(row) and _tested(view, row)]
    if tested:
        figure.add_trace(_intervals(go, view, tested))
    logarithmic = _logarithmic(view, rows)
    figure.update_layout(
        template="plotly_white",
        title={"text": html.escape(_title(view)), "x": 0.02},
        xaxis={
            "title": {"text": axis_name(view.cost)},
            "type": "log" if logarithmic else "linear",
        },
        yaxis={"title": {"text": html.escape(axis_name(view.quality))}},
        legend={"orientation": "h", "y": -0.16},
        hoverlabel={"align": "left"},
        font={"family": "system-ui, sans-serif", "size": 14},
    )
    if logarithmic:
        figure.update_xaxes(dtick="D2")
    page = figure.to_html(
        include_plotlyjs=True,
        div_id="front",
        config={"displaylogo": False, "responsive": True},
        default_height="92vh",
    )
    target.write_text(page, encoding="utf-8")


_LOOKS: dict[str, dict[str, Any]] = {
    "dominated plan": {"size": 6, "color": _GREY},
    "plan on the front": {"size": 9, "color": _BLUE},
    "other members": {"size": 11, "color": _INK, "symbol": "diamond-open"},
    "baseline": {"size": 12, "color": _INK, "symbol": "diamond"},
    "chosen plan": {"size": 18, "color": _RED, "symbol": "star"},
}


def _estimates(go: Any, view: FrontView, name: str, rows: Sequence[PlanRow]) -> Any:
    points = [_xy(view, row) or (None, None) for row in rows]
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
    found = [tested for row in rows if (tested := _tested(view, row))]
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
            lines.append(f"{name}: {figure.decided:.3f} on tune{test}{span}")
        else:
            known = figure.measured is not None
            told = f", measured {figure.measured:.4g}" if known else " (predicted)"
            lines.append(f"{name}: {figure.decided:.4g}{told}")
    if row.speedup is not None:
        lines.append(f"{row.speedup:.2f}x as fast as the baseline ({row.speedup_basis})")
    if row.feasible != "yes":
        lines.append("feasible: " + html.escape(", ".join((row.feasible, *row.reasons))))
    return "<br>".join(lines)
