"""The steps of a job: members, measurements, choice, verification."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trimtab.db import JobRecord
from trimtab.planner.cache.measurements import MeasurementCache, StageSetup, settings_for
from trimtab.planner.cache.traces import TraceCache, TracedImages
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.candidates.evaluation_loop import Budget, measure_candidates
from trimtab.planner.candidates.features import CandidateFeatures, told_errors
from trimtab.planner.candidates.measured import Measured, candidate_record
from trimtab.planner.candidates.members import Member, load_members, squashed
from trimtab.planner.candidates.space import candidate_space
from trimtab.planner.candidates.stages import metric_names, reference_answers, single_values
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.dataset import (
    equipping_inputs,
    named_metrics,
    unseen_classes,
    used_inputs,
)
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.techniques.slimming.variants import SlimmedVariants
from trimtab.search.candidates.acquisition import Advisor
from trimtab.search.candidates.candidate import Candidate
from trimtab.search.candidates.study import CandidateStudy, Proposal
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric


@dataclass
class Run(JobContext):
    """The steps of a job, in order. `items` are its images, `rows` their splits, `shapes` how many
    have which width and height."""

    shapes: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="trimtab-frames-"))  # of the job's scratch folder
        self.items, self.rows = used_inputs(self.workload, self.splits, self.spec, folder)
        equip, self.equip_labels = equipping_inputs(self.workload, self.splits, self.spec)
        inputs = TracedImages.choose(
            self.workload.key,
            self.items,
            [self.items[row] for row in self.rows.tune],
            equip,
        )
        fit = [self.items[row] for row in self.rows.fit]
        self.builder = VariantCache(self.store, self.journal, fit)
        self.slimming = SlimmedVariants(self)
        self.evidence = TraceCache(self.store, self.device, self.fingerprint, inputs, self.journal)
        self.profiles = MeasurementCache(
            self.store,
            self.device,
            self.fingerprint,
            inputs.measured_on,
            self.journal,
            self.settings or settings_for(metric for _, metric in named_metrics(self.spec)),
        )

    @property
    def record(self) -> JobRecord:
        """The job as the store knows it."""
        found = self.store.get_job(self.job_id)
        assert found is not None
        return found

    def execute(self) -> list[Measured]:
        """Members, measurements, choice, verification. Returns what was measured."""
        members = self.members()
        measured = self.measure(members)
        self.remember(classes=members[0].classes, candidates=len(measured))
        PlanningStage(self, measured).decide()
        return measured

    def members(self) -> list[Member]:
        """The zoo."""
        if self.workload.labels is None and self.spec.reference is None:
            raise PlanningError(
                "the images have no labels: name a `reference` member whose answers stand in"
            )
        unseen = unseen_classes(self.workload, self.splits)
        if unseen:
            self.journal.note("warning", "workload", unseen)
        members = load_members(self.spec, self.builder, self.workload, self.journal)
        for name, text in squashed(self.spec, members, self.shapes):
            self.journal.note("warning", name, text)
        return members

    def measure(self, members: Sequence[Member]) -> list[Measured]:
        """Everything measured within the budget, in this run or before."""
        cores = int(self.fingerprint.get("cores", "1"))
        accelerators = self.fingerprint.get("accelerators", "").split()
        space = candidate_space(self.spec, members, cores, accelerators)
        metrics = metric_names(self.spec.objectives, self.rows.labels is not None)
        describing = CandidateFeatures(self, members, space.candidates)
        study = CandidateStudy(
            f"trimtab/{self.job_id}/{content_key([c.key for c in space.candidates])[:8]}",
            space.candidates,
            space.baselines,
            space.enqueued,
            [_direction(name) for name in metrics],
            storage=self.store.url,
            seed=self.spec.workload.splits.seed,
            advisor=Advisor(metrics, describing.of, describing.earlier(metrics)),
        )
        spent = float(self.record.summary.get("measuring_s", 0.0))
        budget = Budget(self.spec.budget, spent, len(study.measured))
        by_name = {member.name: member.built for member in members}
        heads = {candidate.key for candidate in space.candidates[: space.baselines]}
        seen: list[Measured] = []

        def evaluate(candidate: Candidate) -> Measured:
            share = budget.share if study.baselines_done else min(budget.share, 0.99)
            self.journal.step("measure", candidate.label, share, 1.0)
            usable = {found.candidate.member for found in seen}
            if candidate.key not in heads and candidate.member not in usable:
                # To build from a member is to run it here, where nothing would end a hang.
                raise PlanningError(f"not tried: {candidate.member} itself cannot be measured")
            seen.append(self._evaluate(candidate, by_name[candidate.member]))
            describing.learn(seen[-1])
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
            self.remember(measuring_s=budget.spent_s)

        measured = measure_candidates(study, budget, evaluate, values, record)
        if not any(found.candidate.precision == "as_is" for found in measured):
            raise PlanningError("no member could be measured; the reasons are noted above")
        self.remember(predictors=told_errors(study, describing, metrics))
        return measured

    def _evaluate(self, candidate: Candidate, member: StoredVariant) -> Measured:
        built = self._built(member, candidate.precision)
        measurement = self.profiles.measurement([StageSetup(built, candidate.options)])
        for warning in measurement.warnings:
            self.journal.note("warning", candidate.label, warning)
        outputs = self.evidence.trace(built, candidate.options)
        return Measured(candidate, built, measurement, outputs)

    def _built(self, member: StoredVariant, form: str) -> StoredVariant:
        """A member as it came ('as_is'), or made from it: 'w8a8', 'slim1', 'slim1 w8a8'."""
        slim, _, rest = form.partition(" ")
        if not slim.startswith("slim"):
            return self.builder.precision(member, form)
        slimmed = self.slimming.variant(member, int(slim.removeprefix("slim")))
        return self.builder.precision(slimmed, rest or "as_is")

    def remember(self, **summary: Any) -> None:
        """Add to the job's summary in the store."""
        job = self.record
        self.store.update_job(self.job_id, summary={**job.summary, **summary})


def _direction(metric: str) -> Literal["maximize", "minimize"]:
    return "maximize" if find_metric(metric).maximise else "minimize"
