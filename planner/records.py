"""Judged plans as records of the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from db import Basis, Feasible, PlanMetricRecord, PlanRecord, Split
from planner.choosing import Choice, Judged
from trimtab_runtime.codec import encode
from trimtab_runtime.definition import Variant


def plan_record(
    job_id: str, judged: Judged, choice: Choice, variants: Mapping[str, Variant]
) -> PlanRecord:
    """The plan with all that `show` needs: stages with their share of inputs and of time."""
    composed = judged.composed
    shares = choice.predicted_stages(judged)
    stages = [
        {
            "name": choice.options[index].name,
            "variant": encode(variants[stage.variant]),
            "reach": reach,
            "stage_ms": stage_ms,
            "time_share": time_share,
        }
        for index, stage, reach, (stage_ms, time_share) in zip(
            composed.options,
            judged.definition.structure.stages,
            composed.reach,
            shares,
            strict=True,
        )
    ]
    return PlanRecord(
        job_id=job_id,
        key=judged.key,
        label=judged.label,
        definition={"plan": encode(judged.definition), "stages": stages},
        is_baseline=judged.is_baseline,
        on_front=judged.on_front,
        is_chosen=judged.is_chosen,
        feasible=cast(Feasible, judged.feasible),
        reasons=judged.reasons,
    )


def decided_metrics(job_id: str, judged: Judged) -> list[PlanMetricRecord]:
    """What was decided on: quality on tune, replayed and guarded; predicted costs."""

    def metric(name: str, split: Split, basis: Basis, value: float) -> PlanMetricRecord:
        return PlanMetricRecord(job_id, judged.key, name, split, basis, value)

    return [
        *(
            metric(name, "tune", "replayed", value)
            for name, value in judged.composed.replayed.items()
        ),
        *(
            metric(name, "tune", "guarded", value)
            for name, value in judged.composed.guarded.items()
        ),
        *(
            metric(name, "tune", "predicted", value)
            for name, value in judged.composed.costs.items()
        ),
    ]


def reported_metrics(job_id: str, judged: Judged, choice: Choice) -> list[PlanMetricRecord]:
    """What is only reported: quality on test with its interval, and the latency predicted for
    the inputs of test."""
    replayed = [
        PlanMetricRecord(job_id, judged.key, name, "test", "replayed", value, low, high)
        for name, (value, low, high) in choice.report(judged, "test").items()
    ]
    predicted = [
        PlanMetricRecord(job_id, judged.key, name, "test", "predicted", value)
        for name, value in choice.predicted(judged, "test").items()
    ]
    return replayed + predicted
