"""What pictures have in common: colours, names, files; and where a plan stands on a front."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, INK, GREY = "#2f6fb0", "#c8372d", "#20242a", "#b9bec6"
_PALETTE = 128  # colours of a file: a third of the size


def save_png(draw: Callable[[], Figure], target: Path, what: str) -> Path:
    """Draw `what` into a .png file. Raises PlanningError for another, or where it cannot be
    written."""
    if target.suffix.lower() != ".png":
        raise PlanningError(f"{target}: a plot of {what} must be a .png file")
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the picture is still right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        draw().savefig(drawn, format="png")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(drawn) as image:
            image.convert("RGB").quantize(_PALETTE).save(target, "PNG", optimize=True)
    except OSError as error:
        raise PlanningError(f"{target}: cannot be written ({error.strerror})") from error
    return target


def axis_name(metric: str) -> str:
    """A metric with its unit, for people."""
    return printable(find_metric(metric).label)


def position(view: FrontView, row: PlanRow) -> tuple[float, float] | None:
    """Decided cost and quality; None where one is unknown."""
    x, y = row.figure(view.cost).decided, row.figure(view.quality).decided
    return None if x is None or y is None else (x, y)


def on_test(view: FrontView, row: PlanRow) -> tuple[float, float, float, float] | None:
    """Cost (measured, else predicted), and the test value with its interval."""
    cost, quality = row.figure(view.cost), row.figure(view.quality)
    x = cost.shown
    if x is None or quality.test is None or quality.low is None or quality.high is None:
        return None
    return x, quality.test, quality.low, quality.high


def special(row: PlanRow) -> str | None:
    """The role that a row is drawn for."""
    return next((role for role in ("chosen", "baseline", "member") if role in row.roles), None)


def logarithmic(view: FrontView, rows: Sequence[PlanRow]) -> bool:
    """Whether the costs span so much that their axis is."""
    costs = [xy[0] for row in rows if (xy := position(view, row))]
    return bool(costs) and min(costs) > 0 and max(costs) / min(costs) > 6


def title_of(view: FrontView) -> str:
    """What stands above the picture."""
    return f"{view.job_name} on {view.device}"
