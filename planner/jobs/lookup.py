"""Jobs in the store: how they are found; of those on several devices the one over all, and that
of each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.db import JobRecord, PlanRecord, Store
from trimtab.planner.jobs.summary import DeviceSummary, summary_of
from trimtab_runtime.errors import StoreError


def find_job(store: Store, name: str | None = None) -> JobRecord:
    """The job whose id begins with `name` or that is called so, the latest of several of a name;
    without one the latest of all. A job of one of several devices goes by its id alone. Raises
    StoreError."""
    jobs = store.list_jobs()
    if not jobs:
        raise StoreError("there are no jobs yet; start one with `trimtab plan job.yaml`")
    parts = jobs_of_devices(jobs)
    own = [job for job in jobs if job.id not in parts]
    if name is None:
        return own[0]
    named = [job for job in jobs if job.id == name] or [job for job in own if job.name == name]
    begun = [job for job in jobs if name and job.id.startswith(name)]
    if named or len(begun) == 1:
        return (named or begun)[0]
    if begun:
        listed = ", ".join(f"{job.id} ({job.name})" for job in begun)
        raise StoreError(f"{len(begun)} jobs start with {name!r}: {listed}; give more letters")
    known = ", ".join(f"{job.id} ({job.name})" for job in jobs[:5])
    raise StoreError(f"no job has the name {name!r}, or an id that starts with it; jobs: {known}")


def job_state(store: Store, job: JobRecord) -> str:
    """The state of a job; 'killed' for one that runs by its record, but whose process is gone."""
    if job.state != "running":
        return job.state
    holders = [lease.holder for lease in store.list_leases()]
    return "running" if any(h.startswith(f"job {job.id} ") for h in holders) else "killed"


def devices_of(job: JobRecord) -> Sequence[DeviceSummary]:
    """What a job on several devices knows of each: `name`, `address`, `job` (the id of the job
    there) and `device_key` (both None where it was not reached), `problem` (None where it has a
    front). Empty for a job on one."""
    return summary_of(job).get("devices", [])


def device_keys(job: JobRecord) -> list[str]:
    """The devices that a job measured on, as the store knows them."""
    keys = [job.device_key, *(device["device_key"] for device in devices_of(job))]
    return [key for key in keys if key]


def jobs_of_devices(jobs: Sequence[JobRecord]) -> set[str]:
    """Ids of those that belong to a job on several devices."""
    known = (device["job"] for job in jobs for device in devices_of(job))
    return {key for key in known if key}


def job_on_device(store: Store, job: JobRecord, name: str) -> JobRecord:
    """The job of the device that is called `name`, or whose name alone begins so. Raises
    StoreError."""
    devices = devices_of(job)
    if not devices:
        raise StoreError(f"job {job.id} ({job.name}) has only one device: omit --device")
    begun = [device for device in devices if device["name"].startswith(name)]
    found = [device for device in begun if device["name"] == name] or begun
    if len(found) != 1:
        names = ", ".join(device["name"] for device in devices)
        how = "several devices start" if found else "no device starts"
        raise StoreError(f"{how} with {name!r}; job {job.id} ({job.name}) has {names}")
    held = store.get_job(found[0]["job"]) if found[0]["job"] else None
    if held is None:
        raise StoreError(f"{found[0]['name']} was not measured: {found[0]['problem']}")
    return held


#: Plans that every job may have, as its summary names them.
ROLES = ("chosen", "baseline")


def find_plan(store: Store, prefix: str, device: str | None = None) -> PlanRecord:
    """The plan whose key begins with `prefix`, or that the latest job has in a role: 'chosen' or
    'baseline'. Where a job on several devices has it, that of the job over all, or that on one
    `device`. Raises StoreError."""
    if prefix in ROLES:
        return _in_role(store, prefix, device)
    found = store.find_plan(prefix)
    jobs = store.list_jobs()
    tree = [j for j in jobs if found.job_id in {j.id, *(d["job"] for d in devices_of(j))}]
    over_all = next((job for job in tree if devices_of(job)), None)
    if device is not None:
        if over_all is None:
            raise StoreError(f"plan {found.key[:8]} is of a job with one device")
        return store.find_plan(found.key, job_id=job_on_device(store, over_all, device).id)
    entry = store.get_plan(over_all.id, found.key) if over_all else None
    return entry.plan if entry else found


def _in_role(store: Store, role: str, device: str | None) -> PlanRecord:
    job = find_job(store)
    if device is not None:
        job = job_on_device(store, job, device)
    known: Mapping[str, Any] = summary_of(job)
    if not known.get(role):
        raise StoreError(
            f"the latest job, {job.id} ({job.name}), has no {role} plan; `trimtab front` says "
            "why, and names the plans that it has"
        )
    return store.find_plan(known[role], job_id=job.id)
