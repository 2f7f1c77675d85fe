"""How far off the predictors of a job's search were, on candidates that they had not seen."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.db import JobRecord
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.text import printable
from trimtab_runtime.metrics import find_metric


@dataclass(frozen=True)
class PredictorError:
    """How far off predictions of a metric were: the `median` error, relative for a cost, in
    fractions for a quality, over `count` candidates. `held_out` says how: 'ahead' of each
    measurement, or with the candidate's member 'left_out'."""

    metric: str
    held_out: str
    median: float
    count: int

    @property
    def text(self) -> str:
        """One line."""
        how = "before measuring" if self.held_out == "ahead" else "leave-one-model-out"
        off = (
            f"{100 * self.median:.1f} points"
            if find_metric(self.metric).kind == "quality"
            else f"{self.median:.1%}"
        )
        return (
            f"Median prediction error of {printable(self.metric)}, {how}: {off} "
            f"({self.count} candidate{'s' * (self.count != 1)})."
        )


def predictor_errors(job: JobRecord) -> tuple[PredictorError, ...]:
    """Of each metric, in each way in which candidates were held out."""
    return tuple(
        PredictorError(metric, held_out, errors["median"], int(errors["count"]))
        for metric, ways in summary_of(job).get("predictors", {}).items()
        for held_out, errors in ways.items()
    )
