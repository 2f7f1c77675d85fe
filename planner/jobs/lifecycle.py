"""Opening a job: lease its device, store its rows, record how it ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from trimtab.db import JobRecord, Store, WorkloadRecord, let_go
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.dataset import load_dataset, told_of
from trimtab.planner.jobs.journal import (
    DeviceEvents,
    Journal,
    NullListener,
    ProgressListener,
    images_step,
)
from trimtab.planner.jobs.scratch import scratch
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.specification.job import JobSpec, spec_identity, spec_key
from trimtab.profilers import Device, connect
from trimtab.profilers.device import machine_key
from trimtab.variants.execution import executor_on
from trimtab.workloads import Splits, Workload
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import StoreError, reason_of
from trimtab_runtime.probe.requests import MeasureSettings


def job_id_of(spec: JobSpec, device: str, workload: str) -> str:
    """The id of a job on the device and the workload with these keys. It never changes, so that
    an interrupted job is resumed by a later version too."""
    return content_key({"spec": spec_identity(spec), "device": device, "workload": workload})[:12]


@contextmanager
def opened_job(
    spec: JobSpec,
    store: Store,
    watcher: ProgressListener | None = None,
    settings: MeasureSettings | None = None,
    device: Device | None = None,
    stop: threading.Event | None = None,
) -> Iterator[JobContext]:
    """A job with its device leased to it. When `stop` is set, it ends as by Ctrl-C."""
    with scratch(store.artefacts.folder), ExitStack() as ours:
        if device is None:
            found = connect(spec.device.address, spec.budget.stall_seconds, **spec.device.settings)
            device = ours.enter_context(found)
        told = device.fingerprint()
        workload, splits = load_dataset(spec, images_step(watcher or NullListener()))
        met = store.meet_device(device.address, told, device.identity())
        fingerprint, key = met.fingerprint, met.key
        job_id = job_id_of(spec, key, workload.key)
        early: list[str] = []
        journal: Journal | None = None

        def tell(text: str) -> None:
            if journal is None:
                early.append(text)
            else:
                journal.note("info", "cluster", text)

        # First: a job without its cluster has not begun.
        executor = ours.enter_context(executor_on(spec.cluster, tell))
        place = machine_key(told, device.machine())
        lease = ours.enter_context(store.lease(place, holder=f"job {job_id} ({spec.name})"))
        open_record(store, job_id, spec, workload, splits, key)
        journal = Journal(store, job_id, watcher or NullListener(), lease, stop)
        for text in early:
            tell(text)
        for level, text in told_of(workload, spec):
            journal.note(level, "workload", text)
        device.listener = listening = DeviceEvents(journal, device.address)
        with _troubles_told(store, job_id, listening):
            yield JobContext(
                job_id,
                spec,
                store,
                journal,
                device,
                fingerprint,
                workload,
                splits,
                settings,
                executor,
            )


def open_record(
    store: Store,
    job_id: str,
    spec: JobSpec,
    workload: Workload,
    splits: Splits,
    key: str | None = None,
) -> None:
    """Have the job in the store, as one that runs (on the device of that `key`)."""
    summary = {**workload.summary(), "splits": splits.summary()}
    store.put_workload(WorkloadRecord(workload.key, spec.workload.images.name, summary))
    data = spec.model_dump(mode="json")
    if store.get_job(job_id) is not None:
        # Objectives in another order are the same job, but another cost decides.
        store.update_job(job_id, state="running", message=None, spec=data)
        return
    store.add_job(
        JobRecord(
            id=job_id,
            name=spec.name,
            spec=data,
            spec_sha256=spec_key(spec),
            device_key=key,
            workload_key=workload.key,
        )
    )


@contextmanager
def _troubles_told(store: Store, job_id: str, listening: DeviceEvents) -> Iterator[None]:
    """Add what went wrong on the device, and was dealt with, to what the job knows of itself."""
    try:
        yield
    finally:
        job = store.get_job(job_id)
        if job is not None and listening.troubles:
            known: Counter[str] = Counter(summary_of(job).get("troubles", {}))
            troubles = dict(known + listening.troubles)
            store.update_job(job_id, summary={**job.summary, "troubles": troubles})


@contextmanager
def closing_job(store: Store, job_id: str) -> Iterator[None]:
    """Note in the store how a job ended."""
    try:
        yield
    except KeyboardInterrupt as error:
        let_go(error)
        text = f"stopped by {str(error) or 'the user'}; run the same command again to resume"
        store.update_job(job_id, state="interrupted", message=text)
        raise
    except Exception as error:
        if not isinstance(error, StoreError):
            store.update_job(job_id, state="failed", message=reason_of(error))
        raise
    store.update_job(job_id, state="done", message=None)
