"""A front as a table, for any objectives and bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.reports.front import FrontView
from trimtab.search.objectives.pareto import non_dominated
from trimtab_runtime.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd

Bools = NDArray[np.bool_]
_TOLD = {  # what is told of a metric, by what its column's name ends in
    "quality": {
        "": "decided", "_replayed": "replayed", "_test": "test", "_low": "low", "_high": "high"
    },
    "cost": {"": "decided", "_predicted": "predicted", "_measured": "measured"},
}  # fmt: skip
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
    """A row for each plan. Of each metric, `NAME` is the value that selection uses (on tune: the
    conservative estimate; the cost that was measured, or else predicted and corrected);
    `NAME_test`, `NAME_low`, `NAME_high` are only reported; `NAME_predicted` and `NAME_measured`
    are for the test inputs. Unknown is NaN."""
    import pandas as pd

    rows = view.rows
    columns: dict[str, Any] = {
        "key": [row.key for row in rows],
        "plan": [row.label for row in rows],
        "roles": [" ".join(row.roles) for row in rows],
        "status": [row.status for row in rows],
        "disturbed": ["; ".join(row.disturbances) for row in rows],
        "feasible": [row.feasible for row in rows],
        "reasons": ["; ".join(row.reasons) for row in rows],
        "worst_class": [row.worst[0] if row.worst else None for row in rows],
        "worst_recall": _numbers(row.worst[1] if row.worst else None for row in rows),
        "speedup": _numbers(row.speedup.value if row.speedup else None for row in rows),
        "speedup_basis": [row.speedup.says if row.speedup else "" for row in rows],
    }
    for name in dict.fromkeys(name for row in rows for name in row.figures):
        figures = [row.figures.get(name) for row in rows]
        for suffix, attribute in _TOLD[find_metric(name).kind].items():
            values = (None if f is None else getattr(f, attribute) for f in figures)
            columns[f"{name}{suffix}"] = _numbers(values)
    return pd.DataFrame(columns)


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


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
