"""Which bundle a name stands for: a file, a plan of the store, or what a job chose."""

from __future__ import annotations

from pathlib import Path

from trimtab.db import Store
from trimtab.planner.bundles.export import export_record
from trimtab.planner.jobs.lookup import find_job, find_plan
from trimtab.planner.jobs.summary import summary_of
from trimtab_runtime.errors import SpecificationError, StoreError


def bundle_of(named: str, store: Store | None, target: Path) -> Path:
    """The bundle that `named` stands for: a file, else a plan (its key, the first letters, a role)
    or a job (its id or name), whose chosen plan is written to `target`. Raises SpecificationError
    where it stands for nothing."""
    if Path(named).is_file():
        return Path(named).absolute()
    if store is None:
        raise SpecificationError(
            f"{named!r} is no file, and there is no store whose plans or jobs it could name; give "
            "a bundle (.pyz), or select the store with `trimtab --store PATH check ...`"
        )
    try:
        plan = find_plan(store, named)
    except StoreError as no_plan:
        try:
            job = find_job(store, named)
        except StoreError as no_job:
            raise SpecificationError(
                f"{named!r} is no file, no plan ({no_plan}), and no job ({no_job})"
            ) from None
        chosen = summary_of(job).get("chosen")
        if not chosen:
            raise SpecificationError(f"job {job.id} ({job.name}) has chosen no plan") from None
        plan = store.find_plan(chosen, job_id=job.id)
    return export_record(store, plan, target)
