"""The plans of a job as plain data, for the command line, plots and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trimtab.db import (
    CorrectionRecord,
    JobRecord,
    PlanEntry,
    PlanRecord,
    Store,
    VerificationRecord,
)
from trimtab.planner.jobs.lookup import devices_of, job_state
from trimtab.planner.jobs.summary import PredictionSummary, summary_of
from trimtab.planner.reports.figures import MetricValues, plan_figures
from trimtab.planner.reports.names import plan_name
from trimtab.planner.reports.places import job_place
from trimtab.planner.reports.predictor_errors import PredictorError, predictor_errors
from trimtab.planner.reports.speedup import LATENCY, SpeedUp, alike_in_latency, speedup_columns
from trimtab.planner.reports.text import printable
from trimtab.planner.selection.class_cautions import worst_class
from trimtab.planner.selection.paired import disturbances
from trimtab.search.objectives.constraints import Constraint
from trimtab.search.objectives.pareto import spread
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric

_STATES = {
    "running": "the job is running",
    "done": "the job is done",
    "failed": "the job failed",
    "interrupted": "the job was interrupted",
    "killed": "the process of the job was killed",
}


@dataclass(frozen=True)
class PlanRow:
    """A plan on a front: `label` is what it is called for people (names.py), `short` what one can
    type, and what scripts read as its label.

    `roles`: 'chosen', 'baseline' (what `speedup` compares with), 'rival' (what plans that remember
    must be compared with, such as 'hold last'), 'member' (any original model
    of the zoo), 'front'. `status` is 'verified' when its bundle was measured, 'failed' when that
    failed, 'predicted' when it was not tried. `speedup` is relative to the baseline. `alike` are
    labels of verified plans that it cannot be told from in latency, `preferred` says why a chosen
    plan was preferred to one of these. `cautions` are what its accuracy hides, told of the chosen
    plan, `disturbances` what disturbed the measurements that its figures follow from. `variants`
    are the names of those that its stages run, `worst` is the class of test with the lowest recall
    (None: not known), with that.
    """

    key: str
    label: str
    short: str
    roles: tuple[str, ...]
    status: str
    feasible: str
    reasons: tuple[str, ...]
    figures: Mapping[str, MetricValues]
    speedup: SpeedUp | None
    cautions: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    preferred: str = ""
    disturbances: tuple[str, ...] = ()
    worst: tuple[str, float] | None = None

    @property
    def standing(self) -> str:
        """The status, and whether its figures were measured while something disturbed that."""
        return f"{self.status}, disturbed" if self.disturbances else self.status

    def figure(self, metric: str) -> MetricValues:
        return self.figures.get(metric, MetricValues(metric, None))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        named = {"label": self.short, "name": self.label}
        return {**asdict(self), **named, **speedup_columns(self.speedup)}

    def flat(self, metrics: Sequence[str]) -> dict[str, Any]:
        """One level of names and values, for tables: unknown is None."""
        found: dict[str, Any] = {
            "key": self.key,
            "label": self.short,
            "name": self.label,
            "roles": " ".join(self.roles),
            "status": self.status,
            "disturbed": "; ".join(self.disturbances),
            "feasible": self.feasible,
        }
        for metric in metrics:
            figure = self.figure(metric)
            if find_metric(metric).kind == "quality":
                names = {"tune_guarded": figure.decided, "tune": figure.replayed}
                names |= {"test": figure.test, "test_low": figure.low, "test_high": figure.high}
                names |= {"optimism": figure.optimism}
            else:
                names = {"decided": figure.decided, "predicted": figure.predicted}
                names |= {"test_measured": figure.measured}
                names |= {"test_measured_low": figure.low, "test_measured_high": figure.high}
            found |= {f"{metric}_{name}": value for name, value in names.items()}
        return found | speedup_columns(self.speedup)


@dataclass(frozen=True)
class FrontView:
    """The plans of a job, by predicted latency. `test_looks` counts the reports of any job on
    this test split, `nearest` is the plan that comes nearest where none can be chosen,
    `corrections` are corrections of predictions learned from the job's bundles, and
    `predictors` the held-out errors of the search's predictors
    (`trimtab.search.predictors.base`). `moved` says why the choice moved when bundles had been
    measured. `setup` is what is doubtful in how members are fed and read, `predictions` how often
    measured costs lay within the intervals of predicted ones, `losses` what each variant lost and
    won against its member; `bounded` whether a constraint says how good a plan must be."""

    job_id: str
    job_name: str
    state: str
    device: str
    objectives: tuple[str, ...]
    quality: str
    cost: str
    baseline: str | None
    chosen: str | None
    nearest: str | None
    test_looks: int
    corrections: tuple[CorrectionRecord, ...]
    predictors: tuple[PredictorError, ...]
    rows: tuple[PlanRow, ...]
    moved: str = ""
    setup: tuple[str, ...] = ()
    losses: Mapping[str, str] = field(default_factory=dict)
    predictions: Mapping[str, PredictionSummary] = field(default_factory=dict)
    bounded: bool = False

    def row(self, key: str | None) -> PlanRow | None:
        return next((row for row in self.rows if row.key == key), None)

    @property
    def front_variants(self) -> set[str]:
        """Names of the variants that plans on the front run."""
        return {name for row in self.rows if "front" in row.roles for name in row.variants}

    def pick(self, limit: int | None = None, dominated: bool = False) -> list[PlanRow]:
        """The front with the members, or all plans; in order, and at most `limit` rows that span
        the front. Chosen, verified and member plans are always among them."""
        rows = [row for row in self.rows if row.roles or dominated]
        if limit is None or len(rows) <= limit:
            return rows
        kept = [row for row in rows if set(row.roles) - {"front"} or row.status != "predicted"]
        rest = [row for row in rows if row not in kept]
        chosen = {row.key for row in kept}
        if limit > len(kept):
            costs = np.array([self._costs(row) for row in rest])
            chosen |= {rest[index].key for index in spread(costs, limit - len(kept))}
        return [row for row in rows if row.key in chosen]

    def _costs(self, row: PlanRow) -> list[float]:
        signs = [-1.0 if find_metric(name).maximise else 1.0 for name in self.objectives]
        values = [row.figure(name).decided for name in self.objectives]
        return [s * (0.0 if v is None else v) for s, v in zip(signs, values, strict=True)]

    def plain(self, rows: Sequence[PlanRow]) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "rows": [row.plain() for row in rows]}


def front_view(store: Store, job: JobRecord) -> FrontView:
    """All plans of a job. Raises PlanningError when it has none."""
    entries = store.list_plans(job.id)
    if not entries:
        why = f"; {job.message}" if job.message else ""
        if devices_of(job):
            names = ", ".join(device["name"] for device in devices_of(job))
            why += f"; choose one device with --device: {names}"
        raise PlanningError(
            f"job {job.id} ({job.name}) has no plans yet: {_STATES[job_state(store, job)]}{why}"
        )
    objectives = tuple(summary_of(job).get("objectives") or job.spec["objectives"])
    quality = _quality(job, objectives)
    costs = [name for name in objectives if find_metric(name).kind == "cost"]
    baseline = _baseline(job, entries, quality)
    verified = {record.plan_key: record for record in store.list_verifications(job.id)}
    figures = {entry.plan.key: plan_figures(entry) for entry in entries}
    base = figures.get(baseline.plan.key, {}) if baseline else {}
    alike = alike_in_latency(entries)
    workload = store.get_workload(job.workload_key) if job.workload_key else None
    classes = workload.summary.get("classes", ()) if workload else ()
    rows = [
        _row(e, figures[e.plan.key], verified, baseline, base, alike, classes) for e in entries
    ]
    return FrontView(
        job_id=job.id,
        job_name=printable(job.name),
        state=job_state(store, job),
        device=job_place(store, job),
        objectives=objectives,
        quality=quality,
        cost=(costs or [LATENCY])[0],
        baseline=baseline.plan.key if baseline else None,
        chosen=next((row.key for row in rows if "chosen" in row.roles), None),
        nearest=summary_of(job).get("nearest"),
        bounded=any(_bounds_quality(text) for text in job.spec.get("constraints", ())),
        test_looks=store.count_exposures(job.workload_key) if job.workload_key else 0,
        corrections=tuple(store.list_corrections(job_id=job.id)),
        predictors=predictor_errors(job),
        rows=tuple(rows),
        moved=printable(summary_of(job).get("moved", "")),
        setup=setup_doubts(job),
        predictions=summary_of(job).get("predictions", {}),
        losses={
            printable(n): printable(text) for n, text in summary_of(job).get("losses", {}).items()
        },
    )


def setup_doubts(job: JobRecord) -> tuple[str, ...]:
    """What is doubtful in the set-up of a job's members; where it went on all the same, that."""
    setup = summary_of(job).get("setup")
    if setup is None:
        return ()
    forced = ("The job went on with a set-up in doubt, because --force was given.",)
    return (*(forced if setup["forced"] else ()), *map(printable, setup["findings"]))


def _bounds_quality(text: str) -> bool:
    return find_metric(Constraint.parse(text).metric).kind == "quality"


def _quality(job: JobRecord, objectives: Sequence[str]) -> str:
    """The quality that decides: the first one that the job names."""
    named = [name for name in objectives if find_metric(name).kind == "quality"]
    return next(iter(summary_of(job).get("quality") or named), "top1")


def _baseline(job: JobRecord, entries: Sequence[PlanEntry], quality: str) -> PlanEntry | None:
    """The job's baseline; until it has said which, the most capable member."""
    members = [e for e in entries if e.plan.is_baseline and not _is_rival(e.plan)]
    for entry in members:
        if entry.plan.key == summary_of(job).get("baseline"):
            return entry
    return max(members, key=lambda e: e.value(quality, "tune", "replayed") or 0.0, default=None)


def _is_rival(plan: PlanRecord) -> bool:
    return bool(plan.definition.get("rival"))


def _row(
    entry: PlanEntry,
    figures: Mapping[str, MetricValues],
    verified: Mapping[str, VerificationRecord],
    baseline: PlanEntry | None,
    base: Mapping[str, MetricValues],
    alike: Mapping[str, tuple[str, ...]],
    names: Sequence[str],
) -> PlanRow:
    plan, record = entry.plan, verified.get(entry.plan.key)
    is_baseline = baseline is not None and plan.key == baseline.plan.key
    marks = {
        "chosen": plan.is_chosen,
        "baseline": is_baseline,
        "rival": _is_rival(plan),
        "member": plan.is_baseline and not is_baseline and not _is_rival(plan),
        "front": plan.on_front,
    }
    status = "predicted" if record is None else "verified" if record.state == "ok" else "failed"
    return PlanRow(
        key=plan.key,
        label=plan_name(plan),
        short=printable(plan.label),
        roles=tuple(name for name, holds in marks.items() if holds),
        status=status,
        feasible=plan.feasible,
        reasons=tuple(map(printable, plan.reasons)),
        figures=figures,
        speedup=SpeedUp.of(plan, figures, base),
        cautions=tuple(map(printable, plan.definition.get("cautions", ()))),
        variants=tuple(
            printable(stage["variant"]["name"]) for stage in plan.definition.get("stages", ())
        ),
        alike=alike.get(plan.key, ()),
        preferred=printable(plan.definition.get("preferred", "")),
        disturbances=_disturbances(plan, record),
        worst=worst_class(plan.definition.get("confusions", ()), names),
    )


def _disturbances(plan: PlanRecord, record: VerificationRecord | None) -> tuple[str, ...]:
    """Of a verified plan what disturbed its bundle; of others what disturbed its parts."""
    told = plan.definition.get("disturbed", ())
    if record is not None and record.state == "ok":
        told = disturbances(record.details)
    return tuple(map(printable, told))
