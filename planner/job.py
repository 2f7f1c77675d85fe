"""One run of the planner, from a specification to a verified front in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from db import DeviceRecord, JobRecord, Store, WorkloadRecord, let_go
from planner.inputs import read_inputs
from planner.journal import Journal, Silent, Watcher
from planner.listening import Listening
from planner.run import Run
from planner.scratch import scratch
from planner.spec import JobSpec, load_spec
from profilers import Device, connect
from profilers.device import device_key
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import StoreError, TrimtabError
from trimtab_runtime.probe.requests import MeasureSettings
from workloads import Splits, Workload, check_images


def plan(
    source: str | Path | Mapping[str, Any] | JobSpec,
    store: Store,
    watcher: Watcher | None = None,
    settings: MeasureSettings | None = None,
    device: Device | None = None,
) -> JobRecord:
    """Run the job that a specification describes; the record of the finished job.

    `settings` say how long a candidate is measured. `device` stands in for the one that the
    specification names, as one that records does.

    The same specification, device and images are the same job: running it again does only what
    is missing. Raises SpecificationError, WorkloadError, DeviceError, StoreError or
    PlanningError; everything measured until then stays in the store.
    """
    with opened_run(load_spec(source), store, watcher, settings, device) as run:
        run.execute()
    return run.record


@contextmanager
def opened_run(
    spec: JobSpec,
    store: Store,
    watcher: Watcher | None = None,
    settings: MeasureSettings | None = None,
    device: Device | None = None,
) -> Iterator[Run]:
    """A job with its device leased to it, and its end noted in the store."""
    with scratch(store.artefacts.folder), ExitStack() as ours:
        if device is None:
            found = connect(spec.device.target, spec.budget.stall_seconds)
            device = ours.enter_context(found)
        yield ours.enter_context(_leased_run(spec, store, watcher or Silent(), settings, device))


@contextmanager
def _leased_run(
    spec: JobSpec,
    store: Store,
    watcher: Watcher,
    settings: MeasureSettings | None,
    device: Device,
) -> Iterator[Run]:
    fingerprint = device.fingerprint()
    workload, splits = read_inputs(spec)
    identity = {
        "spec": spec.model_dump(mode="json"),
        "device": device_key(fingerprint),
        "workload": workload.key,
    }
    job_id = content_key(identity)[:12]
    with store.lease(device_key(fingerprint), holder=f"job {job_id} ({spec.name})") as lease:
        _open_job(store, job_id, spec, device, fingerprint, workload, splits)
        journal = Journal(store, job_id, watcher, lease)
        device.listener = listening = Listening(journal, device.address)
        with _closing_job(store, job_id), _troubles_told(store, job_id, listening):
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
def _troubles_told(store: Store, job_id: str, listening: Listening) -> Iterator[None]:
    """Add what went wrong on the device, and was dealt with, to what the job knows of itself."""
    try:
        yield
    finally:
        job = store.get_job(job_id)
        if job is not None and listening.troubles:
            known: Counter[str] = Counter(job.summary.get("troubles", {}))
            troubles = dict(known + listening.troubles)
            store.update_job(job_id, summary={**job.summary, "troubles": troubles})


@contextmanager
def _closing_job(store: Store, job_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        let_go(error)
        text = "stopped by the user; the same command goes on from here"
        store.update_job(job_id, state="interrupted", message=text)
        raise
    except TrimtabError as error:
        if not isinstance(error, StoreError):
            store.update_job(job_id, state="failed", message=str(error))
        raise
    store.update_job(job_id, state="done", message=None)
