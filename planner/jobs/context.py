"""A job that holds the lease of its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.db import Store
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers import Device
from trimtab.workloads import Splits, Workload
from trimtab_runtime.probe.requests import MeasureSettings


@dataclass
class JobContext:
    """A job that holds the lease of its device."""

    job_id: str
    spec: JobSpec
    store: Store
    journal: Journal
    device: Device
    fingerprint: Mapping[str, str]
    workload: Workload
    splits: Splits
    settings: MeasureSettings | None = None
