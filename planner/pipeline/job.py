"""One run of the planner, from a specification to a verified front in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.journal import ProgressListener
from trimtab.planner.pipeline.multi_device.job import plan_on_several
from trimtab.planner.pipeline.single_device import opened_run
from trimtab.planner.setup_check.job import SetupPolicy
from trimtab.planner.specification.job import JobSpec, load_spec
from trimtab.profilers import Device
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.probe.requests import MeasureSettings

__all__ = ["opened_run", "plan"]


def plan(
    source: str | Path | Mapping[str, Any] | JobSpec,
    store: Store,
    watcher: ProgressListener | None = None,
    settings: MeasureSettings | None = None,
    device: Device | Mapping[str, Device] | None = None,
    setup: SetupPolicy = "checked",
) -> JobRecord:
    """Run the job that a specification describes; the record of the finished job.

    `settings` say how long a candidate is measured. `device` stands in for the one that the
    specification names, as one that records does; where it names several, a mapping from their
    names. `setup`: whether the set-up of members is tried first; 'forced' goes on where it is in
    doubt, and says so on every view, 'ignored' does not try (see
    trimtab.planner.setup_check.job.SetupPolicy).

    The same specification, device and images are the same job: running it again does only what
    is missing. Raises SpecificationError, WorkloadError, DeviceError, StoreError or
    PlanningError; everything measured until then stays in the store. A job with several devices
    raises only where all of them failed; where some did, its `state` is 'failed' and its
    `message` says which, and why.
    """
    spec = load_spec(source)
    if spec.devices:
        if isinstance(device, Device):
            raise SpecificationError(
                "devices: the specification has several; give a device for each name"
            )
        return plan_on_several(spec, store, watcher, settings, device or {}, setup)
    if isinstance(device, Mapping):
        raise SpecificationError("device: the specification has one; give one device")
    with opened_run(spec, store, watcher, settings, device) as run:
        run.execute(setup)
    return run.job.record
