"""Plans as records of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trimtab.db import Basis, PlanMetricRecord, PlanRecord
from trimtab.planner.selection.breakdowns import Breakdown
from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.held_out import HeldOutReport
from trimtab.planner.selection.plan import PlanCandidate
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.plan import OperatingPoint, Variant
from trimtab_runtime.metrics import METRICS


def plan_record(
    job_id: str,
    judged: PlanCandidate,
    evaluator: PlanEvaluator,
    variants: Mapping[str, Variant],
    breakdown: Breakdown,
    points: Sequence[OperatingPoint],
    cautions: Sequence[str] = (),
) -> PlanRecord:
    """The plan with all that `show` needs: stages with their share of inputs and of time, and the
    `breakdown` of where inputs stop, `cautions` that go with it. Its bundle has the `points`."""
    composed, data = judged.composed, evaluator.data
    router_ms = composed.design.costs.router_ms()
    shares = evaluator.stage_times(judged)
    stages = [
        {
            "name": data.options[index].name,
            "variant": encode(variants[stage.variant]),
            "reach": reach,
            "stage_ms": stage_ms,
            "time_share": time_share,
            "energy_method": data.measured[index].measurement.details.get("energy_method"),
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
        definition={
            "plan": encode(judged.definition),
            "points": encode(tuple(points)),
            "stages": stages,
            "split": breakdown.split,
            "exits": list(breakdown.exits),
            "certificate": judged.certificate,
            "rival": composed.design.rival,
            "routes": list(breakdown.routes),
            "confusions": list(breakdown.confusions),
            "beside": dict(breakdown.rivals),
            "cautions": list(cautions),
            "preferred": judged.preferred,
            "paired": judged.paired.plain() if judged.paired else None,
            "disturbed": composed.design.costs.warnings,
            "router_ms": router_ms,
            "router_share": router_ms / composed.costs["latency_mean_ms"],
        },
        is_baseline=judged.is_baseline,
        on_front=judged.on_front,
        is_chosen=judged.is_chosen,
        feasible=judged.feasible,
        reasons=judged.reasons,
    )


def decided_metrics(job_id: str, judged: PlanCandidate) -> list[PlanMetricRecord]:
    """The values that selection used: quality on tune, replayed and conservatively estimated;
    corrected predicted costs."""
    composed = judged.composed
    told: tuple[tuple[Basis, Mapping[str, float]], ...] = (
        ("replayed", composed.replayed),
        ("guarded", composed.guarded),
        ("predicted", judged.costs),
    )
    return [
        PlanMetricRecord(job_id, judged.key, name, "tune", basis, value)
        for basis, values in told
        for name, value in values.items()
    ]


def reported_metrics(
    job_id: str, judged: PlanCandidate, report: HeldOutReport
) -> list[PlanMetricRecord]:
    """What is only reported: quality on test with its interval, and validation-to-test gaps."""
    replayed = [
        PlanMetricRecord(job_id, judged.key, name, "test", "replayed", *told)
        for name, told in report.quality.items()
    ]
    optimism = [
        PlanMetricRecord(job_id, judged.key, name, "test", "optimism", *told)
        for name, told in report.gaps.items()
    ]
    return replayed + optimism


def predicted_metrics(
    job_id: str, judged: PlanCandidate, costs: Mapping[str, float]
) -> list[PlanMetricRecord]:
    """The `costs` predicted for the test inputs (HeldOutReports.predicted)."""
    return [
        PlanMetricRecord(job_id, judged.key, name, "test", "predicted", value)
        for name, value in costs.items()
    ]


def measured_metrics(
    job_id: str, judged: PlanCandidate, values: Mapping[str, float]
) -> list[PlanMetricRecord]:
    """What the bundle measured, of a verification's values those that are metrics; the mean
    latency with its interval, where it took turns."""
    found = []
    for name, value in sorted(values.items()):
        if name not in METRICS:
            continue
        record = PlanMetricRecord(job_id, judged.key, name, "test", "measured", value)
        known = judged.paired.latency_ms.get("test") if judged.paired else None
        if known is not None and name == "latency_mean_ms":
            record = replace(record, low=known.low, high=known.high)
        found.append(record)
    return found
