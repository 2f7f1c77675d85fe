"""What belongs to a job: its progress, candidates, looks at a test split, log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import func, insert, select

from trimtab.db._base import StoreBase, change, find, find_one, matching, put, sealed
from trimtab.db.records import (
    CandidateRecord,
    CandidateRole,
    CandidateState,
    EventRecord,
    ExposureRecord,
    JobRecord,
    JobState,
    Json,
    Level,
    Split,
    utc_now,
)
from trimtab.db.schema import CandidateRow, EventRow, ExposureRow, JobRow
from trimtab_runtime.errors import StoreError


class JobChanges(TypedDict, total=False):
    """Fields of a job that may change while it runs."""

    name: str
    spec: Json
    state: JobState
    device_key: str | None
    workload_key: str | None
    finished_at: datetime | None
    progress: Json
    message: str | None
    summary: Json


class JobStore(StoreBase):
    """Jobs and what they own. StoreError for a job that the store does not hold."""

    def add_job(self, record: JobRecord) -> None:
        """StoreError if the id is taken."""
        with self.transaction(write=True) as connection:
            connection.execute(insert(JobRow), sealed(JobRow, _with_finish(record)))

    def get_job(self, job_id: str) -> JobRecord | None:
        with self.transaction() as connection:
            return find_one(connection, JobRecord, JobRow, JobRow.id == job_id)

    def list_jobs(
        self,
        *,
        state: JobState | None = None,
        spec_sha256: str | None = None,
        limit: int | None = None,
    ) -> list[JobRecord]:
        """Newest first."""
        with self.transaction() as connection:
            where = matching(JobRow, state=state, spec_sha256=spec_sha256)
            order = (JobRow.started_at.desc(), JobRow.id.desc())
            return find(connection, JobRecord, JobRow, *where, order_by=order, limit=limit)

    def latest_job(self, spec_sha256: str) -> JobRecord | None:
        """The job of this specification that was started last."""
        return next(iter(self.list_jobs(spec_sha256=spec_sha256, limit=1)), None)

    def update_job(self, job_id: str, **changes: Unpack[JobChanges]) -> JobRecord:
        """Change the named fields; returns the job as it is then.

        A state that is not 'running' sets `finished_at` to now, 'running' clears it, unless it
        is given too.
        """
        if "state" in changes and "finished_at" not in changes:
            changes["finished_at"] = None if changes["state"] == "running" else utc_now()
        with self.transaction(write=True) as connection:
            change(connection, JobRecord, JobRow, dict(changes), JobRow.id == job_id)
            held = find_one(connection, JobRecord, JobRow, JobRow.id == job_id)
            if held is None:
                raise StoreError(f"no job {job_id!r} in store {self._location}")
            return held

    def put_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Add candidates, or replace those with the same job and key."""
        with self.transaction(write=True) as connection:
            put(connection, CandidateRow, list(records))

    def list_candidates(
        self,
        job_id: str,
        *,
        role: CandidateRole | None = None,
        state: CandidateState | None = None,
    ) -> list[CandidateRecord]:
        """By trial number, those without one first."""
        with self.transaction() as connection:
            where = matching(CandidateRow, job_id=job_id, role=role, state=state)
            order = (CandidateRow.trial_number.nulls_first(), CandidateRow.key)
            return find(connection, CandidateRecord, CandidateRow, *where, order_by=order)

    def add_exposure(self, record: ExposureRecord) -> None:
        """Note that a split was looked at."""
        with self.transaction(write=True) as connection:
            connection.execute(insert(ExposureRow), sealed(ExposureRow, record))

    def count_exposures(self, workload_key: str, split: Split = "test") -> int:
        """How often the split was looked at, over all jobs."""
        with self.transaction() as connection:
            where = matching(ExposureRow, workload_key=workload_key, split=split)
            counted = select(func.count()).select_from(ExposureRow).where(*where)
            return connection.execute(counted).scalar_one()

    def list_exposures(
        self, *, workload_key: str | None = None, job_id: str | None = None
    ) -> list[ExposureRecord]:
        """Oldest first."""
        with self.transaction() as connection:
            where = matching(ExposureRow, workload_key=workload_key, job_id=job_id)
            order = (ExposureRow.id,)
            return find(connection, ExposureRecord, ExposureRow, *where, order_by=order)

    def add_event(self, record: EventRecord) -> None:
        """Append to the log of a job."""
        with self.transaction(write=True) as connection:
            connection.execute(insert(EventRow), sealed(EventRow, record))

    def list_events(
        self, job_id: str, *, level: Level | None = None, limit: int | None = None
    ) -> list[EventRecord]:
        """In the order they were added; of many, the last `limit`."""
        with self.transaction() as connection:
            where = matching(EventRow, job_id=job_id, level=level)
            order = (EventRow.id.desc(),)
            return find(connection, EventRecord, EventRow, *where, order_by=order, limit=limit)[
                ::-1
            ]


def _with_finish(job: JobRecord) -> JobRecord:
    if job.state == "running":
        return replace(job, finished_at=None)
    return replace(job, finished_at=job.finished_at or utc_now())
