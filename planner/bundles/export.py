"""From a plan in the store to its bundle."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from trimtab.db import JobRecord, PlanEntry, PlanRecord, Store
from trimtab.planner.bundles.archive import BundleParts, holds, write_bundle
from trimtab.planner.jobs.dataset import class_names, load_dataset
from trimtab.planner.jobs.lookup import device_keys, find_plan
from trimtab.planner.jobs.stored_plans import plan_definition, plan_points, plan_variants
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.selection.operating_points import POINTS
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import largest_pixels
from trimtab_runtime import __version__
from trimtab_runtime.bundles.manifest import Provenance
from trimtab_runtime.definitions.plan import OperatingPoint, PlanDefinition, Structure
from trimtab_runtime.errors import PlanningError, StoreError

_GOLDEN_CANDIDATES = 24
#: Packages whose versions may change what a bundle holds.
_MAKERS = ("numpy", "onnx", "onnxruntime", "pillow", "torch")


def export_plan(store: Store, plan_key: str, target: Path, device: str | None = None) -> Path:
    """Write the bundle of a plan (named by the beginning of its key) to `target`. Of a job on
    several devices, that of the plan over all, or of the plan on one `device`.

    A verified plan's bundle is the very file that ran on the device; another is built again, which
    needs the job's images where they were. Raises StoreError, PlanningError, WorkloadError.
    """
    return export_record(store, find_plan(store, plan_key, device), target)


def export_record(store: Store, plan: PlanRecord, target: Path) -> Path:
    """The same of this very plan."""
    bundle = _verified_bundle(store, plan.job_id, plan.key)
    if bundle is None:
        job = store.get_job(plan.job_id)
        assert job is not None
        workload, splits = load_dataset(JobSpec.model_validate(job.spec))
        fit = [workload.items[index].path for index in splits.fit]
        return write_bundle(bundle_parts(store, job, plan.key, fit), target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(store.artefacts.path(bundle), target)
    target.chmod(0o755)
    return target


def keep_bundle(store: Store, job: JobRecord, plan_key: str, images: Sequence[Path]) -> Path:
    """The plan's bundle as a file of the artefact store: the one that ran on the device before,
    though with the runtime of an earlier version, or else a new one."""
    parts = bundle_parts(store, job, plan_key, images)
    verified = _verified_bundle(store, job.id, plan_key)
    if verified is not None:
        with suppress(StoreError):  # lost or damaged: built again
            path = store.artefacts.path(verified)
            if holds(path, parts):
                return path
    with tempfile.TemporaryDirectory(prefix="trimtab-bundle-") as folder:
        name = f"{plan_key[:12]}.pyz"
        made = write_bundle(parts, Path(folder) / name)
        artefact = store.save_file(made, kind="bundle", name=name)
    return store.artefacts.path(artefact.sha256)


def _verified_bundle(store: Store, job_id: str, plan_key: str) -> str | None:
    """The sha256 of the file that was verified; None where none was."""
    verified = {v.plan_key: v.bundle_sha256 for v in store.list_verifications(job_id)}
    return verified.get(plan_key)


def bundle_parts(
    store: Store, job: JobRecord, plan_key: str, images: Sequence[Path]
) -> BundleParts:
    """What the plan's bundle is made of. Its operating points are those that were found for it
    (families.py); golden images come from the first of `images`."""
    entries = store.list_plans(job.id)
    entry = next((e for e in entries if e.plan.key == plan_key), None)
    fingerprint = _fingerprint(store, job)
    workload = store.get_workload(job.workload_key) if job.workload_key else None
    if entry is None or not fingerprint or workload is None:
        raise PlanningError(f"plan {plan_key[:12]} of job {job.id} is incomplete in the store")
    definition = _definition(entry)
    variants = plan_variants(entry.plan)
    known = workload.summary["classes"]
    return BundleParts(
        name=entry.plan.label,
        definition=definition,
        points=_points(entry, entries),
        variants={v.sha256: v for v in variants},
        models={v.sha256: store.artefacts.path(v.sha256) for v in variants},
        labels=class_names(known, summary_of(job)["classes"]),
        images=list(images)[:_GOLDEN_CANDIDATES],
        fingerprint=fingerprint,
        files={sha: store.artefacts.path(sha) for sha in _files(definition.structure)},
        provenance=Provenance(job.id, plan_key, workload.key, _versions()),
        largest_pixels=largest_pixels(job.spec),
    )


def _versions() -> dict[str, str]:
    """Of Python, and of the packages that make what a bundle holds."""
    found = {name: version(name) for name in _MAKERS}
    return {"python": platform.python_version(), "trimtab": __version__, **found}


def _files(structure: Structure) -> list[str]:
    """sha256 of what a bundle holds besides whole models: segments, arrays of taps, routers and
    scorers."""
    found = list(structure.deciders)
    for stage in structure.stages:
        if stage.exits is not None:
            found += stage.exits.segments
            found += [stage.exits.arrays] if stage.exits.arrays else []
    return found


def _fingerprint(store: Store, job: JobRecord) -> dict[str, str]:
    """The device's; where a job has several, what they differ in stands side by side."""
    found = [device for key in device_keys(job) if (device := store.get_device(key))]
    names = dict.fromkeys(name for device in found for name in device.fingerprint)
    return {
        name: " | ".join(dict.fromkeys(device.fingerprint.get(name, "-") for device in found))
        for name in names
    }


def _definition(entry: PlanEntry) -> PlanDefinition:
    return plan_definition(entry.plan)


def _points(entry: PlanEntry, entries: Sequence[PlanEntry]) -> list[OperatingPoint]:
    """The plan's family, the fastest first. Of a job of an earlier version, which kept none: the
    plan's own point and those of the front that share its structure."""
    known = plan_points(entry.plan)
    if known is not None:
        return known
    structure = _definition(entry).structure
    siblings = [
        e
        for e in entries
        if e.plan.on_front and e is not entry and _definition(e).structure == structure
    ]
    points = [_point(e) for e in [entry, *siblings[: POINTS - 1]]]
    return sorted(points, key=lambda point: point.metrics["latency_mean_ms"])


def _point(entry: PlanEntry) -> OperatingPoint:
    """Thresholds, with conservative estimates of quality on tune and predicted costs."""
    decided = {
        name: found.value
        for (name, split, basis), found in entry.metrics.items()
        if split == "tune" and basis in ("guarded", "predicted")
    }
    definition = _definition(entry)
    return OperatingPoint(definition.thresholds, decided, definition.exits, definition.price)
