"""The report of a plan: stages, constraints, lineage, predicted against measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.db import JobRecord, PlanRecord, Store, VariantRecord, VerificationRecord
from trimtab.planner.jobs.stored_plans import plan_definition
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.front import FrontView, PlanRow, front_view
from trimtab.planner.reports.measurements import measured_variants
from trimtab.planner.reports.names import stage_name
from trimtab.planner.reports.plan.confusions import ConfusionView, confusions_of
from trimtab.planner.reports.plan.lineage import lineage_of
from trimtab.planner.reports.plan.precision import float_costs
from trimtab.planner.reports.plan.routes import RouterView, RouteView, router_of, routes_of
from trimtab.planner.reports.plan.slimming import slimming_told
from trimtab.planner.reports.speedup import LATENCY, predicted_speedup
from trimtab.planner.reports.text import number, printable, split_name
from trimtab.planner.specification.sections import largest_pixels
from trimtab.search.objectives.constraints import Constraint
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.exits import ExitThresholds, Memory
from trimtab_runtime.definitions.plan import PlanDefinition, RuntimeOptions
from trimtab_runtime.errors import StoreError
from trimtab_runtime.metrics import find_metric


@dataclass(frozen=True)
class StageView:
    """A stage, by its `name` for people and the `short` one that a job knows: `reach` is the
    share of inputs that come to it, `stage_ms` what it takes when it runs, `time_share` its part
    of the plan's mean latency (all predicted, on tune). `threshold` is the confidence from which
    on it answers; None for the last one."""

    name: str
    short: str
    variant: str
    sha256: str
    size_mb: float
    options: RuntimeOptions
    reach: float
    stage_ms: float
    time_share: float
    threshold: float | None
    lineage: tuple[str, ...]


@dataclass(frozen=True)
class ConstraintView:
    """A constraint of the job: the number it asks for, what the plan has, and 'yes', 'no' or
    'unknown'."""

    text: str
    limit: float | None
    value: float | None
    met: str


@dataclass(frozen=True)
class ExitView:
    """A place where inputs stop: shares of all inputs, and of those that stop there (see
    trimtab.planner.selection.breakdowns); milliseconds up to there."""

    where: str
    by: str
    share: float
    right: float
    full_right: float
    spent_ms: float


@dataclass(frozen=True)
class PlanReport:
    """Everything about one plan. `verified` holds what the bundle gave on the device, by name
    (metrics, and `answer_mismatch`: the share of inputs answered otherwise than replayed),
    `disturbances` what was noticed while its figures were measured, `energy_methods` how energy
    was found; `early` what came of early exits, by variant, and `slimming` what came of that, by
    member. `exits` and `routes` are of the inputs of a `split`, as people call it. Of a plan on
    several devices `on_each` holds the figures of each, by 'metric split basis'. `setup` is what
    is doubtful in the set-up of the job's members, `losses` what variants of the plan lost and won
    against their members, `confusions` which classes of test it takes for which (None: not
    known). Peak memory holds for images of `largest_pixels` (None: those of the workload)."""

    row: PlanRow
    job_id: str
    job_name: str
    device: str
    route: str
    rule: str
    stages: tuple[StageView, ...]
    constraints: tuple[ConstraintView, ...]
    why: str
    verified: Mapping[str, float]
    failure: str | None
    bundle_sha256: str | None
    disturbances: tuple[str, ...]
    energy_methods: tuple[str, ...]
    exits: tuple[ExitView, ...]
    memory: Memory
    thresholds: ExitThresholds
    certificate: str
    early: Mapping[str, str]
    slimming: Mapping[str, str]
    routes: tuple[RouteView, ...] = ()
    router: RouterView | None = None
    split: str = "test"
    on_each: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    losses: Mapping[str, str] = field(default_factory=dict)
    confusions: ConfusionView | None = None
    largest_pixels: int | None = None


def report_plan(store: Store, plan: PlanRecord, view: FrontView | None = None) -> PlanReport:
    """All that the store knows of a plan. `view` is the front of its job; read here unless it is
    known already. Raises StoreError."""
    job = store.get_job(plan.job_id)
    assert job is not None  # a foreign key of the plan
    view = front_view(store, job) if view is None else view
    row = view.row(plan.key)
    if row is None:
        raise StoreError(f"plan {plan.key[:8]} has just been replaced; its job runs")
    definition = plan_definition(plan)
    stages = _stages(store, definition, plan.definition["stages"], job.device_key)
    exits = tuple(
        ExitView(**{**found, "where": printable(found["where"])})
        for found in plan.definition.get("exits", ())
    )
    records = {record.plan_key: record for record in store.list_verifications(job.id)}
    record = records.get(plan.key)
    return PlanReport(
        row=row,
        job_id=job.id,
        job_name=view.job_name,
        device=view.device,
        route=definition.structure.route,
        rule=definition.structure.rule,
        stages=stages,
        constraints=_constraints(job, view, row),
        why=_why(row, definition.structure.route, stages, exits, view.row(view.baseline)),
        verified=record.values if record else {},
        failure=printable(record.reason) if record and record.reason else None,
        bundle_sha256=record.bundle_sha256 if record else None,
        disturbances=row.disturbances,
        energy_methods=_energy_methods(plan, record),
        exits=exits,
        memory=definition.structure.memory,
        thresholds=definition.exits,
        certificate=plan.definition.get("certificate", ""),
        early=_early_reasons(job, stages),
        slimming=slimming_told(job, view.front_variants),
        routes=routes_of(plan),
        router=router_of(plan, definition),
        split=split_name(plan.definition.get("split", "test")),
        on_each={printable(n): told for n, told in plan.definition.get("devices", {}).items()},
        setup=view.setup,
        largest_pixels=largest_pixels(job.spec),
        confusions=confusions_of(store, job, plan, view.baseline),
        losses={s.variant: view.losses[s.variant] for s in stages if s.variant in view.losses},
    )


def _early_reasons(job: JobRecord, stages: tuple[StageView, ...]) -> dict[str, str]:
    """What came of early exits in the variants of the stages."""
    known = summary_of(job)["early"]["reasons"] if "early" in job.summary else {}
    names = {name for stage in stages for name in (stage.short, stage.variant)}
    return {printable(n): printable(text) for n, text in known.items() if printable(n) in names}


def _energy_methods(plan: PlanRecord, record: VerificationRecord | None) -> tuple[str, ...]:
    details = [*plan.definition["stages"], record.details if record else {}]
    return tuple(sorted({d["energy_method"] for d in details if d.get("energy_method")}))


def _stages(
    store: Store, definition: PlanDefinition, told: list[dict[str, Any]], device: str | None
) -> tuple[StageView, ...]:
    thresholds = [*definition.thresholds, None]
    variants = store.list_variants(state="ok")
    by_key = {variant.key: variant for variant in variants}
    measured = measured_variants(store, device) if device else []
    found = []
    stages = zip(told, definition.structure.stages, thresholds, strict=True)
    for data, stage, threshold in stages:
        variant = data["variant"]
        record = _record_of(variants, variant)
        cost = float_costs(record, variants, measured, encode(stage.options))
        found.append(
            StageView(
                name=stage_name(variant["name"], encode(stage.options)),
                short=printable(data["name"]),
                variant=printable(variant["name"]),
                sha256=stage.variant,
                size_mb=variant["size_bytes"] / 2**20,
                options=stage.options,
                reach=data["reach"],
                stage_ms=data["stage_ms"],
                time_share=data["time_share"],
                threshold=threshold,
                lineage=tuple(lineage_of(record, by_key, cost)),
            )
        )
    return tuple(found)


def _record_of(variants: list[VariantRecord], variant: Mapping[str, Any]) -> VariantRecord | None:
    """The same file may have been used with several input formats: this one's."""
    io = {"input": variant["input"], "output": variant["output"]}
    same_file = [v for v in variants if v.artefact_sha256 == variant["sha256"]]
    return next((v for v in same_file if v.io == io), same_file[0] if same_file else None)


def _constraints(job: JobRecord, view: FrontView, row: PlanRow) -> tuple[ConstraintView, ...]:
    """Constraints as selection checks them: conservative estimates and predicted costs."""
    values = {name: f.decided for name, f in row.figures.items()}
    known = {name: value for name, value in values.items() if value is not None}
    baseline = view.row(view.baseline)
    limits: dict[str, float] = {}
    for name, figure in (baseline.figures if baseline else {}).items():
        value = figure.replayed if find_metric(name).kind == "quality" else figure.decided
        if value is not None:
            limits[name] = value
    found = []
    for text in job.spec.get("constraints", ()):
        rule = Constraint.parse(text)
        met = rule.check(known, limits)
        found.append(ConstraintView(text, rule.limit(limits), known.get(rule.metric), met))
    return tuple(found)


def _why(
    row: PlanRow,
    route: str,
    stages: tuple[StageView, ...],
    exits: tuple[ExitView, ...],
    baseline: PlanRow | None,
) -> str:
    """Why the plan is faster or slower than the baseline: predicted, and measured if it was."""
    if baseline is None:
        return "There is no baseline to compare with."
    if row.key == baseline.key:
        return "This is the baseline; speed-ups are relative to it."
    own, base = row.figure(LATENCY), baseline.figure(LATENCY)
    predicted = predicted_speedup(own, base)
    if predicted is None:
        return "Its latency is unknown."
    own_ms, base_ms = number(own.predicted), number(base.predicted)
    first, last = stages[0], stages[-1]
    early = sum(found.share for found in exits if found.by != "network")
    if early:
        reason = f"{early:.0%} of the inputs leave at an early exit; {own_ms} ms on average"
    elif len(stages) == 1:
        reason = f"{first.name} answers every input in {own_ms} ms"
    elif route == "premodel":
        ran = ", ".join(
            f"{stage.name} runs for {stage.reach:.0%} of the inputs" for stage in stages
        )
        reason = f"with its router, {ran}; {own_ms} ms on average"
    else:
        reason = (
            f"{first.name} answers {1 - stages[1].reach:.0%} of the inputs in "
            f"{number(first.stage_ms)} ms, and the {last.reach:.0%} that reach {last.name} take "
            f"{number(last.stage_ms)} ms there; {own_ms} ms on average"
        )
    text = (
        f"Predicted {_factor(predicted.value)} than the baseline "
        f"({baseline.label}, {base_ms} ms): {reason}."
    )
    if row.speedup is not None and own.measured and base.measured:
        span = f", 95 % interval {row.speedup.span}" if row.speedup.span else ""
        text += (
            f" {row.speedup.says.capitalize()}: {number(own.measured)} ms against "
            f"{number(base.measured)} ms, {row.speedup.value:.2f}x as fast{span}."
        )
    return text


def _factor(speedup: float) -> str:
    return f"{speedup:.2f}x faster" if speedup >= 1 else f"{1 / speedup:.2f}x slower"
