"""A front as a picture: an interactive HTML page, or a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.plots.style import position
from trimtab_runtime.errors import PlanningError


def write_plot(view: FrontView, rows: Sequence[PlanRow], target: Path) -> Path:
    """Draw `rows` into a .html or .png file. Raises PlanningError for any other."""
    from trimtab.planner.reports.plots.front_html import write_html
    from trimtab.planner.reports.plots.front_png import write_png

    writers = {".html": write_html, ".png": write_png}
    writer = writers.get(target.suffix.lower())
    if writer is None:
        raise PlanningError(f"{target}: a plot must be an .html or .png file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer(view, [row for row in rows if position(view, row)], target)
    except OSError as error:
        raise PlanningError(f"{target}: cannot be written ({error.strerror})") from error
    return target
