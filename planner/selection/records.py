"""Plans as records of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
            "beside": dict(breakdown.rivals),
            "cautions": list(cautions),
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
    job_id: str, judged: PlanCandidate, report: HeldOutReport, verified: bool
) -> list[PlanMetricRecord]:
    """What is only reported: quality on test with its interval, validation-to-test gaps, and the
    costs predicted for the test inputs. Those of a `verified` plan are as predicted before its
    bundle ran."""
    replayed = [
        PlanMetricRecord(job_id, judged.key, name, "test", "replayed", *told)
        for name, told in report.quality.items()
    ]
    optimism = [
        PlanMetricRecord(job_id, judged.key, name, "test", "optimism", *told)
        for name, told in report.gaps.items()
    ]
    predicted = [
        PlanMetricRecord(
            job_id,
            judged.key,
            name,
            "test",
            "predicted",
            value * (1.0 if verified else judged.factor(name)),
        )
        for name, value in report.costs.items()
    ]
    return replayed + optimism + predicted


def measured_metrics(
    job_id: str, judged: PlanCandidate, values: Mapping[str, float]
) -> list[PlanMetricRecord]:
    """What the bundle measured, of a verification's values those that are metrics."""
    return [
        PlanMetricRecord(job_id, judged.key, name, "test", "measured", value)
        for name, value in sorted(values.items())
        if name in METRICS
    ]
