"""How good predicted costs are: what verified plans of a device's jobs showed, and what may be
carried from one job to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from trimtab.db import CorrectionRecord, JobRecord, PlanMetricRecord
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.summary import PredictionSummary, summary_of
from trimtab.profilers.device import device_key
from trimtab.search.costs.correction import Correction, Pair, corrected_metrics
from trimtab.search.costs.prediction import PredictionErrors
from trimtab_runtime.metrics import find_metric

#: Share of the verified plans of a job that may have been disturbed; of more, nothing is carried
#: to the next job.
DISTURBED = 0.25


def earlier_correction(job: JobContext) -> Correction:
    """What earlier jobs learned on this device while it was not disturbed. A resumed job keeps
    what it began with, so that it decides as it did."""
    models = job.summary.get("correction")
    if models is None:
        records = job.store.list_corrections(device_key=device_key(job.fingerprint))
        jobs = {found.id: found for found in _earlier_jobs(job)}
        models = {
            record.metric: record.model
            for record in reversed(records)
            if record.job_id != job.job_id and not _was_disturbed(jobs.get(record.job_id), record)
        }
        job.remember(correction=models)
    return Correction(models)


def earlier_errors(job: JobContext) -> dict[str, PredictionErrors]:
    """How far predictions were off in earlier jobs on this device, by metric; what was disturbed
    does not count. Kept like the correction."""
    known = job.summary.get("prediction_errors")
    if known is None:
        summed = {metric: PredictionErrors() for metric in corrected_metrics()}
        for earlier in _earlier_jobs(job):
            for metric, told in summary_of(earlier).get("predictions", {}).items():
                if metric in summed:
                    summed[metric] += PredictionErrors(told["taught_by"], told["squares"])
        known = {
            metric: {"plans": float(found.plans), "squares": found.squares}
            for metric, found in summed.items()
        }
        job.remember(prediction_errors=known)
    return {
        metric: PredictionErrors(int(found["plans"]), found["squares"])
        for metric, found in known.items()
    }


def prediction_summary(
    job: JobContext,
    verified: Mapping[str, Mapping[str, Pair]],
    errors: Mapping[str, PredictionErrors],
) -> dict[str, PredictionSummary]:
    """How the predictions of a job did on its `verified` plans, by metric, where their intervals
    followed from the `errors` of before."""
    before = [summary_of(earlier).get("predictions", {}) for earlier in _earlier_jobs(job)]
    found: dict[str, PredictionSummary] = {}
    for metric, known in errors.items():
        pairs = [told[metric] for told in verified.values() if metric in told]
        if not pairs:
            continue
        taught = PredictionErrors.of(pairs)
        covered = sum(known.covers(pair) for pair in pairs)
        told = [summary[metric] for summary in before if metric in summary]
        found[metric] = {
            "plans": len(pairs),
            "covered": covered,
            "disturbed": sum(pair.disturbed for pair in pairs),
            "taught_by": taught.plans,
            "squares": taught.squares,
            "device_plans": len(pairs) + sum(each["plans"] for each in told),
            "device_covered": covered + sum(each["covered"] for each in told),
        }
    return found


def with_intervals(
    metrics: Iterable[PlanMetricRecord],
    errors: Mapping[str, PredictionErrors],
    verified: Collection[str],
) -> list[PlanMetricRecord]:
    """Figures of plans, predicted costs with the interval that the `errors` of earlier jobs leave
    them. What the bundle of a `verified` plan (by key) corrected has none."""
    found = []
    for record in metrics:
        known = None
        corrected = record.split == "tune" and record.plan_key in verified
        if record.basis == "predicted" and not corrected:
            known = errors.get(find_metric(record.metric).corrected_by)
        if known is not None:
            low, high = known.interval(record.value)
            record = replace(record, low=low, high=high)
        found.append(record)
    return found


def _earlier_jobs(job: JobContext) -> Iterable[JobRecord]:
    """Other jobs on the same device, oldest first."""
    key = device_key(job.fingerprint)
    jobs = [j for j in job.store.list_jobs() if j.device_key == key and j.id != job.job_id]
    return sorted(jobs, key=lambda found: found.started_at)


def _was_disturbed(job: JobRecord | None, learned: CorrectionRecord) -> bool:
    """Whether what a job learned was taught by disturbed measurements. Jobs of earlier versions
    do not say; what they taught is carried."""
    known = {} if job is None else summary_of(job).get("predictions", {})
    told = known.get(learned.metric)
    return told is not None and told["disturbed"] > DISTURBED * told["plans"]
