"""A job that holds the lease of its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Unpack

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.summary import JobSummary, summary_of
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers import Device
from trimtab.variants.execution import Executor, Here
from trimtab.workloads import Splits, Workload
from trimtab_runtime.probe.requests import MeasureSettings


@dataclass(frozen=True)
class JobContext:
    """What a job works with, from its first step to its last. `settings` say how long a candidate
    is measured (None: as the metrics that are asked for need); the `executor` makes variants."""

    job_id: str
    spec: JobSpec
    store: Store
    journal: Journal
    device: Device
    fingerprint: Mapping[str, str]
    workload: Workload
    splits: Splits
    settings: MeasureSettings | None = None
    executor: Executor = field(default_factory=Here)

    @property
    def record(self) -> JobRecord:
        """The job as the store knows it."""
        found = self.store.get_job(self.job_id)
        assert found is not None
        return found

    @property
    def summary(self) -> JobSummary:
        """What the job says of itself in the store."""
        return summary_of(self.record)

    def remember(self, **found: Unpack[JobSummary]) -> None:
        """Add to the job's summary in the store."""
        self.store.update_job(self.job_id, summary={**self.summary, **found})
