"""The stages of a job on one device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.db import Store
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.journal import ProgressListener
from trimtab.planner.jobs.lifecycle import closing_job, opened_job
from trimtab.planner.pipeline.run import Run
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers import Device
from trimtab.workloads import check_images
from trimtab_runtime.probe.requests import MeasureSettings


@contextmanager
def running(job: JobContext) -> Iterator[Run]:
    """The job's steps; how they end is noted in the store."""
    with closing_job(job.store, job.job_id):
        yield Run(**vars(job), shapes=check_images(job.workload))


@contextmanager
def opened_run(
    spec: JobSpec,
    store: Store,
    watcher: ProgressListener | None = None,
    settings: MeasureSettings | None = None,
    device: Device | None = None,
) -> Iterator[Run]:
    """A job with its device leased to it, and its end noted in the store."""
    with opened_job(spec, store, watcher, settings, device) as job, running(job) as run:
        yield run
