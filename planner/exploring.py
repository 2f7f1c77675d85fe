"""A front as a table that can be cut to size: any objectives, any bounds, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from planner.views import FrontView, PlanRow
from search.fronts import non_dominated
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd

Bools = NDArray[np.bool_]
#: A metric's least and largest allowed value; None leaves that side open.
Bounds = Mapping[str, tuple[float | None, float | None]]


def known_metrics(view: FrontView) -> list[str]:
    """Metrics that were decided on for some plan: objectives first, the rest as in metrics.py."""
    found = [n for row in view.rows for n, f in row.figures.items() if f.decided is not None]
    named = dict.fromkeys(found)
    return [n for n in view.objectives if n in named] + [
        n for n in named if n not in view.objectives
    ]


def front_frame(view: FrontView) -> pd.DataFrame:
    """A row for each plan. Of each metric `NAME` is what is decided on (the guarded estimate on
    tune, the predicted cost); `NAME_test`, `NAME_low`, `NAME_high` are only reported,
    `NAME_predicted` and `NAME_measured` speak of the inputs of test. Unknown is NaN."""
    import pandas as pd

    metrics = list(dict.fromkeys(name for row in view.rows for name in row.figures))
    return pd.DataFrame([_cells(row, metrics) for row in view.rows])


def _cells(row: PlanRow, metrics: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "key": row.key,
        "plan": row.label,
        "roles": " ".join(row.roles),
        "status": row.status,
        "feasible": row.feasible,
        "reasons": "; ".join(row.reasons),
        "speedup": _number(row.speedup),
        "speedup_basis": row.speedup_basis or "",
    }
    for name in metrics:
        figure = row.figure(name)
        cells[name] = _number(figure.decided)
        if find_metric(name).kind == "quality":
            told = {"replayed": figure.replayed, "test": figure.test}
            told |= {"low": figure.low, "high": figure.high}
        else:
            told = {"predicted": figure.predicted, "measured": figure.measured}
        cells |= {f"{name}_{what}": _number(value) for what, value in told.items()}
    return cells


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def within(frame: pd.DataFrame, bounds: Bounds) -> Bools:
    """Which plans keep all bounds, by what was decided on; an unknown value keeps none."""
    kept: Bools = np.ones(len(frame), bool)
    for metric, (low, high) in bounds.items():
        values = frame[metric].to_numpy(float)
        if low is not None:
            kept &= values >= low
        if high is not None:
            kept &= values <= high
    return kept


def front_of(frame: pd.DataFrame, metrics: Sequence[str], among: Bools) -> Bools:
    """Which of the plans `among` no other of them beats in all `metrics`; a plan of which one of
    these is unknown is on no front."""
    signs = np.array([-1.0 if find_metric(name).maximise else 1.0 for name in metrics])
    costs = frame[list(metrics)].to_numpy(float) * signs
    rows = np.flatnonzero(among & ~np.isnan(costs).any(axis=1))
    found: Bools = np.zeros(len(frame), bool)
    if len(rows):
        found[rows[non_dominated(costs[rows])]] = True
    return found
