"""The stages of a job on one device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from trimtab.db import Store
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.exported import COMPARED
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.candidates.members import Member, load_members, squashed
from trimtab.planner.candidates.search import CandidateSearch
from trimtab.planner.candidates.threads import quota_note
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.dataset import unseen_classes
from trimtab.planner.jobs.journal import ProgressListener
from trimtab.planner.jobs.lifecycle import closing_job, opened_job
from trimtab.planner.pipeline.earlier import decided_without_turns
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.setup_check.images import labelled_trial
from trimtab.planner.setup_check.job import SetupPolicy, check_job
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.techniques import TECHNIQUES
from trimtab.profilers import Device
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.probe.requests import MeasureSettings


@dataclass(frozen=True)
class SingleDeviceJob:
    """A job on one device, stage by stage."""

    job: JobContext
    evaluator: CandidateEvaluator

    @classmethod
    def of(cls, job: JobContext) -> Self:
        """Read the images of a job."""
        makers = {name: found.variants for name, found in TECHNIQUES.items() if found.variants}
        return cls(job, CandidateEvaluator.of(job, makers))

    def execute(self, setup: SetupPolicy = "checked") -> list[Measured]:
        """Members, measurements, choice, verification. Returns what was measured. Raises
        PlanningError where the `setup` of members is checked and in doubt."""
        members = self.members()
        if setup != "ignored":
            check_job(self.job, members, force=setup == "forced")
        measured = self.measure(members)
        known = self.job.summary
        self.job.remember(classes=members[0].classes, candidates=len(measured))
        stage = PlanningStage(self.evaluator, measured)
        if not decided_without_turns(stage, known, stage.selector.data):
            stage.decide()
        return measured

    def members(self) -> list[Member]:
        """The zoo."""
        job = self.job
        if job.workload.labels is None and job.spec.reference is None:
            raise PlanningError(
                "the images have no labels: set `reference` to the model that replaces them"
            )
        unseen = unseen_classes(job.workload, job.splits)
        if unseen:
            job.journal.note("warning", "workload", unseen)
        if told := quota_note(job.fingerprint, job.spec.runtime.threads):
            job.journal.note("warning", job.device.address, told)
        members = load_members(
            job.spec,
            self.evaluator.variants,
            job.workload,
            job.journal,
            labelled_trial(job.spec, job.workload, job.splits, job.journal.alive),
            [job.workload.items[index] for index in job.splits.fit[:COMPARED]],
        )
        for name, text in squashed(members, job.workload.shapes):
            job.journal.note("warning", name, text)
        return members

    def measure(self, members: Sequence[Member]) -> list[Measured]:
        """Everything measured within the budget, in this run or before."""
        return CandidateSearch(self.evaluator, members).measure()


@contextmanager
def running(job: JobContext) -> Iterator[SingleDeviceJob]:
    """Run the job's stages, and record in the store how they end."""
    with closing_job(job.store, job.job_id):
        yield SingleDeviceJob.of(job)


@contextmanager
def opened_run(
    spec: JobSpec,
    store: Store,
    watcher: ProgressListener | None = None,
    settings: MeasureSettings | None = None,
    device: Device | None = None,
) -> Iterator[SingleDeviceJob]:
    """A job with its device leased; the store records how it ends."""
    with opened_job(spec, store, watcher, settings, device) as job, running(job) as run:
        yield run
