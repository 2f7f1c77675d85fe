"""Where a job measures, in a few words."""

from __future__ import annotations

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.lookup import devices_of
from trimtab.planner.reports.text import device_text, printable


def job_place(store: Store, job: JobRecord) -> str:
    """Where a job measures, in a few words."""
    devices = devices_of(job)
    if not devices:
        return device_name(store, job.device_key)
    names = printable(", ".join(device["name"] for device in devices))
    return f"the worst case of {names}" if job.spec.get("across") == "worst" else names


def device_name(store: Store, key: str | None) -> str:
    """A device in a few words."""
    device = store.get_device(key) if key else None
    if device is None:
        return "unknown"
    return device_text(device.address, device.fingerprint)
