"""Stores for looking at: real jobs gathered in one, or multiplied."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from trimtab.db import JobRecord, PlanEntry, PlanMetricRecord, PlanRecord, Store


def copy_evidence(source: Store, target: Store, with_files: bool = True) -> None:
    """What jobs refer to. Files are linked where the disk allows it."""
    for artefact in source.list_artefacts():
        target.put_artefact(artefact)
        place, held = (store.artefacts.place(artefact.sha256) for store in (target, source))
        if with_files and held.exists() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(held, place)
    for device in source.list_devices():
        target.put_device(device)
    for workload in source.list_workloads():
        target.put_workload(workload)
    for variant in source.list_variants():
        target.put_variant(variant)
    for measurement in source.list_measurements():
        target.put_measurement(measurement)
    for trace in source.list_traces():
        target.put_trace(trace)


def copy_job(source: Store, target: Store, job: JobRecord) -> None:
    """A job with what belongs to it alone; what it refers to is there already."""
    target.add_job(job)
    target.put_candidates(source.list_candidates(job.id))
    put_plans(target, job.id, source.list_plans(job.id))
    for verification in source.list_verifications(job.id):
        target.put_verification(verification)
    target.put_corrections(source.list_corrections(job_id=job.id))
    for exposure in source.list_exposures(job_id=job.id):
        target.add_exposure(exposure)
    for event in source.list_events(job.id):
        target.add_event(event)


def put_plans(target: Store, job_id: str, entries: list[PlanEntry]) -> None:
    plans: list[PlanRecord] = [entry.plan for entry in entries]
    metrics: list[PlanMetricRecord] = [m for e in entries for m in e.metrics.values()]
    target.replace_plans(job_id, plans, metrics)


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # another disk
        shutil.copyfile(source, place)


def multiply(source: Store, target: Store, sizes: list[int]) -> list[str]:
    """A job of each of these numbers of plans, made from the plans of the newest job that has
    some, their figures shifted a little; the ids."""
    job = next(job for job in source.list_jobs() if job.summary.get("plans"))
    entries, ids = source.list_plans(job.id), []
    copy_evidence(source, target)
    for number, size in enumerate(sizes):
        job_id = f"{number + 1:012x}"
        made = [_shifted(entries, job_id, n) for n in range(size)]
        chosen = next((e.plan.key for e in made if e.plan.is_chosen), None)
        base = next((e.plan.key for e in made if e.plan.is_baseline), None)
        summary = {**job.summary, "plans": size, "chosen": chosen, "baseline": base}
        target.add_job(replace(job, id=job_id, name=f"job {number + 1}", summary=summary))
        put_plans(target, job_id, made)
        kept = {entry.plan.key for entry in made}
        for verification in source.list_verifications(job.id):
            if verification.plan_key in kept:
                target.put_verification(replace(verification, job_id=job_id))
        ids.append(job_id)
    return ids


def _shifted(entries: list[PlanEntry], job_id: str, number: int) -> PlanEntry:
    """One after the other of the plans themselves in the first round; in later rounds they are a
    little slower and worse."""
    rank, place = divmod(number, len(entries))
    entry, plan = entries[place], entries[place].plan
    first = not rank
    key = plan.key if first else f"{number:08x}{plan.key[8:]}"
    made = replace(
        plan,
        job_id=job_id,
        key=key,
        is_chosen=plan.is_chosen and first,
        is_baseline=plan.is_baseline and first,
        on_front=plan.on_front and first,
    )
    factor = 1 + 0.013 * rank + 0.0007 * (number % 13)
    metrics = {
        name: replace(
            m,
            job_id=job_id,
            plan_key=key,
            value=m.value * factor if name[2] in ("predicted", "measured") else m.value / factor,
        )
        for name, m in entry.metrics.items()
    }
    return PlanEntry(made, metrics)


@contextmanager
def gathered(stores: list[Path], folder: Path) -> Iterator[Path]:
    """One store with the jobs of several, the newest first; its path."""
    path = folder / f"gathered-{secrets.token_hex(4)}" / "trimtab.db"
    path.parent.mkdir(parents=True)
    with Store.open(path) as target:
        for each in stores:
            with Store.open(each, read_only=True) as source:
                copy_evidence(source, target)
                for job in source.list_jobs():
                    copy_job(source, target, job)
    yield path
    shutil.rmtree(path.parent)
