"""One run of the planner, from a specification to a verified front in the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from db import (
    DeviceRecord,
    ExposureRecord,
    Feasible,
    JobRecord,
    Store,
    WorkloadRecord,
)
from planner.choosing import Choice
from planner.evidence import Built, Evidence, Inputs
from planner.inputs import read_inputs, used_inputs
from planner.journal import Journal, Silent, Watcher
from planner.measuring import (
    Budget,
    Measured,
    candidate_record,
    candidate_space,
    measure_candidates,
)
from planner.members import Member, load_members
from planner.records import decided_metrics, plan_record, reported_metrics
from planner.spec import JobSpec, load_spec
from planner.stages import metric_names, reference_answers, single_values
from planner.verifying import Verifier
from profilers import Device, connect
from profilers.device import device_key
from search.outer import Candidate, OuterStudy, Proposal
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import PlanningError, StoreError, TrimtabError
from trimtab_runtime.metrics import METRICS
from trimtab_runtime.probe.requests import MeasureSettings
from workloads import Splits, Workload, check_images


def plan(
    source: str | Path | Mapping[str, Any] | JobSpec,
    store: Store,
    watcher: Watcher | None = None,
    settings: MeasureSettings | None = None,
) -> JobRecord:
    """Run the job that a specification describes; the record of the finished job.

    `settings` say how long a candidate is measured.

    The same specification, device and images are the same job: running it again does only what
    is missing. Raises SpecificationError, WorkloadError, DeviceError, StoreError or
    PlanningError; everything measured until then stays in the store.
    """
    with opened_run(load_spec(source), store, watcher, settings) as run:
        run.execute()
    return _job(store, run.job_id)


@contextmanager
def opened_run(
    spec: JobSpec,
    store: Store,
    watcher: Watcher | None = None,
    settings: MeasureSettings | None = None,
) -> Iterator[Run]:
    """A job with its device leased to it, and its end noted in the store."""
    device = connect(spec.device)
    fingerprint = device.fingerprint()
    workload, splits = read_inputs(spec)
    identity = {
        "spec": spec.model_dump(mode="json"),
        "device": device_key(fingerprint),
        "workload": workload.key,
    }
    job_id = content_key(identity)[:12]
    with store.lease(device_key(fingerprint), holder=f"job {job_id} ({spec.name})"):
        _open_job(store, job_id, spec, device, fingerprint, workload, splits)
        journal = Journal(store, job_id, watcher or Silent())
        with _closing_job(store, job_id):
            check_images(workload)
            yield Run(
                job_id, spec, store, journal, device, fingerprint, workload, splits, settings
            )


def _open_job(
    store: Store,
    job_id: str,
    spec: JobSpec,
    device: Device,
    fingerprint: Mapping[str, str],
    workload: Workload,
    splits: Splits,
) -> None:
    key = device_key(fingerprint)
    store.put_device(DeviceRecord(key, device.address, dict(fingerprint)))
    summary = {**workload.summary(), "splits": splits.summary()}
    store.put_workload(WorkloadRecord(workload.key, spec.workload.images.name, summary))
    if store.get_job(job_id) is not None:
        store.update_job(job_id, state="running", message=None)
        return
    data = spec.model_dump(mode="json")
    store.add_job(
        JobRecord(
            id=job_id,
            name=spec.name,
            spec=data,
            spec_sha256=content_key(data),
            device_key=key,
            workload_key=workload.key,
        )
    )


@contextmanager
def _closing_job(store: Store, job_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        text = "stopped by the user; the same command goes on from here"
        store.update_job(job_id, state="interrupted", message=text)
        raise
    except TrimtabError as error:
        if not isinstance(error, StoreError):
            store.update_job(job_id, state="failed", message=str(error))
        raise
    store.update_job(job_id, state="done", message=None)


def _job(store: Store, job_id: str) -> JobRecord:
    found = store.get_job(job_id)
    assert found is not None
    return found


@dataclass
class Run:
    """The steps of a job, in order. `items` are its images, `rows` their splits."""

    job_id: str
    spec: JobSpec
    store: Store
    journal: Journal
    device: Device
    fingerprint: Mapping[str, str]
    workload: Workload
    splits: Splits
    settings: MeasureSettings | None = None

    def __post_init__(self) -> None:
        self.items, self.rows = used_inputs(self.workload, self.splits)
        inputs = Inputs.choose(
            self.workload.key,
            self.items,
            [self.items[row] for row in self.rows.fit],
            [self.items[row] for row in self.rows.tune],
        )
        self.evidence = Evidence(
            self.store, self.device, self.fingerprint, inputs, self.journal, self.settings
        )

    def execute(self) -> None:
        """Members, measurements, choice, verification."""
        members = self.members()
        measured = self.measure(members)
        self.journal.step("search", "composing plans", 0, 1)
        choice = Choice(self.spec, measured, self.rows)
        self._store_plans(choice, measured)
        self._summarise(choice, measured, members[0].classes)
        self.journal.step("search", "", 1, 1)
        job = _job(self.store, self.job_id)
        verifier = Verifier(job, self.store, self.device, self.journal, choice, self.items)
        self._confirm(choice, verifier.verify(self.spec.verify))

    def members(self) -> list[Member]:
        """The zoo."""
        if self.workload.labels is None and self.spec.reference is None:
            raise PlanningError(
                "the images have no labels: name a `reference` member whose answers stand in"
            )
        return load_members(self.spec, self.evidence, self.workload, self.journal)

    def measure(self, members: Sequence[Member]) -> list[Measured]:
        """Everything measured within the budget, in this run or before."""
        cores = int(self.fingerprint.get("cores", "1"))
        space = candidate_space(self.spec, members, cores)
        metrics = metric_names(self.spec.objectives, self.rows.labels is not None)
        study = OuterStudy(
            f"trimtab/{self.job_id}/{content_key([c.key for c in space.candidates])[:8]}",
            space.candidates,
            space.baselines,
            space.enqueued,
            [_direction(name) for name in metrics],
            storage=self.store.url,
            seed=self.spec.workload.splits.seed,
        )
        spent = float(_job(self.store, self.job_id).summary.get("measuring_s", 0.0))
        budget = Budget(self.spec.budget, spent, len(study.measured))
        by_name = {member.name: member.built for member in members}
        heads = {candidate.key for candidate in space.candidates[: space.baselines]}
        seen: list[Measured] = []

        def evaluate(candidate: Candidate) -> Measured:
            share = budget.share if study.baselines_done else min(budget.share, 0.99)
            self.journal.step("measure", candidate.label, share, 1.0)
            seen.append(self._evaluate(candidate, by_name[candidate.member]))
            return seen[-1]

        def values(found: Measured) -> list[float]:
            reference = reference_answers(seen, self.spec.reference_name)
            return single_values(found, self.rows, reference, metrics)

        def record(proposal: Proposal, found: Measured | None, reason: str | None) -> None:
            candidate = proposal.candidate
            built = found.built if found else by_name[candidate.member]
            self.store.put_candidates(
                [
                    candidate_record(
                        self.job_id, proposal, built.key, candidate.key in heads, reason
                    )
                ]
            )
            if reason:
                self.journal.note("error", candidate.label, reason)
            self._remember(measuring_s=budget.spent_s)

        measured = measure_candidates(study, budget, evaluate, values, record)
        if not any(found.candidate.precision == "as_is" for found in measured):
            raise PlanningError("no member could be measured; the reasons are noted above")
        return measured

    def _evaluate(self, candidate: Candidate, member: Built) -> Measured:
        built = self.evidence.precision(member, candidate.precision)
        measurement = self.evidence.measurement(built, candidate.options)
        for warning in measurement.warnings:
            self.journal.note("warning", candidate.label, warning)
        outputs = self.evidence.trace(built, candidate.options)
        return Measured(candidate, built, measurement, outputs)

    def _store_plans(self, choice: Choice, measured: Sequence[Measured]) -> None:
        """Replace the job's plans and their figures; note that test was looked at."""
        variants = {m.built.variant.sha256: m.built.variant for m in measured}
        plans, metrics, reported = [], [], 0
        for judged in choice.plans:
            plans.append(plan_record(self.job_id, judged, choice, variants))
            metrics += decided_metrics(self.job_id, judged)
            if judged.on_front or judged.is_baseline or judged.is_chosen:
                metrics += reported_metrics(self.job_id, judged, choice)
                reported += 1
        self.store.replace_plans(self.job_id, plans, metrics)
        self.store.add_exposure(
            ExposureRecord(self.job_id, self.workload.key, "test", "report", reported)
        )

    def _confirm(self, choice: Choice, ratios: Mapping[str, float]) -> None:
        """Let what the bundles measured have the last word on what is chosen."""
        before = choice.chosen
        choice.confirm(ratios)
        after = choice.chosen
        if after is before:
            return
        if before is not None:
            self.journal.note(
                "warning",
                before.label,
                f"its bundle measured {ratios.get(before.key, 1.0):.2f} times the predicted "
                f"latency, so {after.label if after else 'no plan'} is chosen instead",
            )
        for judged in choice.plans:
            self.store.update_plan(
                self.job_id,
                judged.key,
                is_chosen=judged.is_chosen,
                feasible=cast(Feasible, judged.feasible),
                reasons=judged.reasons,
            )
        self._remember(chosen=after.key if after else None)

    def _summarise(self, choice: Choice, measured: Sequence[Measured], classes: int) -> None:
        self._remember(
            classes=classes,
            candidates=len(measured),
            plans=len(choice.plans),
            front=sum(judged.on_front for judged in choice.plans),
            chosen=choice.chosen.key if choice.chosen else None,
            baseline=choice.baseline_plan.key,
            quality=choice.quality,
            objectives=[objective.metric for objective in choice.objectives],
            reference_ms=choice.reference_ms,
        )

    def _remember(self, **summary: Any) -> None:
        job = _job(self.store, self.job_id)
        self.store.update_job(self.job_id, summary={**job.summary, **summary})


def _direction(metric: str) -> Literal["maximize", "minimize"]:
    return "maximize" if METRICS[metric].maximise else "minimize"
