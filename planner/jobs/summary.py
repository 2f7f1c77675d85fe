"""The summary of a job, as stored with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

from trimtab.db import JobRecord


class EarlyExitSummary(TypedDict):
    """`reasons` say what came of each variant, `taps` how far (share of the variant's measured
    time) each of its exit points lies."""

    reasons: Mapping[str, str]
    taps: Mapping[str, Sequence[tuple[str, float]]]


class SlimmedSet(TypedDict, total=False):
    """A set of blocks that was built: predicted and measured share of answers that differ from the
    member's, and its `quality` alone, by metric and split."""

    name: str
    sha256: str
    parts: Sequence[str]
    saved_ms: float
    predicted_disagreement: float
    predicted_spread: float
    disagreement: float
    quality: Mapping[str, Mapping[str, float]]


class SlimmingSummary(TypedDict, total=False):
    """What came of slimming one member; `reason` where nothing did."""

    reason: str
    whole_ms: float
    proposals: int
    saving: int
    tried: int
    blocks: Sequence[Mapping[str, object]]
    built: list[SlimmedSet]
    predictor_error: float | None


class DeviceSummary(TypedDict):
    """One of several devices: the `job` of its own, and the `problem` where that has no front."""

    name: str
    address: str
    job: str | None
    device_key: str | None
    problem: str | None


class SetupSummary(TypedDict):
    """What the check of the members' set-ups found, in sentences, and whether the job went on
    against it because it was told to (`forced`)."""

    findings: Sequence[str]
    forced: bool


class PredictionSummary(TypedDict):
    """How predictions of a metric did on the verified `plans` of a job: how many measured within
    their 95 % interval (`covered`), how many were `disturbed`; of the others, `taught_by` and
    `squares` (see :class:`trimtab.search.costs.prediction.PredictionErrors`). `device_plans` and
    `device_covered` count those of earlier jobs on the device too."""

    plans: int
    covered: int
    disturbed: int
    taught_by: int
    squares: float
    device_plans: int
    device_covered: int


class JobSummary(TypedDict, total=False):
    """All that a job says of itself, each once it is known.

    `correction` is what earlier jobs learned on the device, by metric, `prediction_errors` how
    far off its predictions were, and `predictions` how those of this job did; `predictors` the
    held-out errors of the search's predictors, by metric and way; `troubles` what went wrong on
    the device and was dealt with, by kind. `moved` says why the choice moved once bundles had been
    measured. `chosen`, `nearest` and `baseline` are keys of plans. `routed` says what routers
    could not have, `losses` what each quantised or slimmed variant lost and won against its
    member, by the variant's name.
    """

    classes: int
    setup: SetupSummary
    losses: Mapping[str, str]
    candidates: int
    measuring_s: float
    correction: Mapping[str, Mapping[str, float]]
    prediction_errors: Mapping[str, Mapping[str, float]]
    predictions: Mapping[str, PredictionSummary]
    predictors: Mapping[str, Mapping[str, Mapping[str, float]]]
    early: EarlyExitSummary
    routed: Mapping[str, str]
    slimming: Mapping[str, SlimmingSummary]
    plans: int
    chosen: str | None
    nearest: str | None
    baseline: str
    quality: Sequence[str]
    objectives: Sequence[str]
    moved: str
    reference_ms: float
    devices: Sequence[DeviceSummary]
    troubles: Mapping[str, int]


def summary_of(job: JobRecord) -> JobSummary:
    """What a job says of itself."""
    return cast(JobSummary, job.summary)
