"""The steps of a job: members, measurements, choice, verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from db import ExposureRecord, Feasible, JobRecord, Store
from planner.choosing import Choice
from planner.evidence import Built, Evidence, Inputs
from planner.inputs import used_inputs
from planner.journal import Journal
from planner.measuring import (
    Budget,
    Measured,
    candidate_record,
    candidate_space,
    measure_candidates,
)
from planner.members import Member, load_members
from planner.records import decided_metrics, plan_record, reported_metrics
from planner.spec import JobSpec
from planner.stages import metric_names, reference_answers, single_values
from planner.verifying import Verifier
from profilers import Device
from search.outer import Candidate, OuterStudy, Proposal
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import METRICS
from trimtab_runtime.probe.requests import MeasureSettings
from workloads import Splits, Workload


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

    @property
    def record(self) -> JobRecord:
        """The job as the store knows it."""
        found = self.store.get_job(self.job_id)
        assert found is not None
        return found

    def execute(self) -> None:
        """Members, measurements, choice, verification."""
        members = self.members()
        measured = self.measure(members)
        self.journal.step("search", "composing plans", 0, 1)
        choice = Choice(self.spec, measured, self.rows)
        self._store_plans(choice, measured)
        self._summarise(choice, measured, members[0].classes)
        self.journal.step("search", "", 1, 1)
        job = self.record
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
        spent = float(self.record.summary.get("measuring_s", 0.0))
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
        job = self.record
        self.store.update_job(self.job_id, summary={**job.summary, **summary})


def _direction(metric: str) -> Literal["maximize", "minimize"]:
    return "maximize" if METRICS[metric].maximise else "minimize"
