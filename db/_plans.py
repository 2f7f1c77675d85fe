"""The plans of a job, their figures, how their bundles did, and what that taught."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict, Unpack, cast

from sqlalchemy import delete, func, insert

from trimtab.db._base import StoreBase, change, find, find_one, matching, put, sealed
from trimtab.db.records import (
    CorrectionRecord,
    Feasible,
    JobRecord,
    PlanEntry,
    PlanMetricRecord,
    PlanRecord,
    VerificationRecord,
)
from trimtab.db.schema import CorrectionRow, JobRow, PlanMetricRow, PlanRow, VerificationRow
from trimtab_runtime.errors import StoreError

_NAMED_AT_MOST = 8


class PlanChanges(TypedDict, total=False):
    """Fields of a plan that may change after it was stored."""

    label: str
    is_baseline: bool
    on_front: bool
    is_chosen: bool
    feasible: Feasible
    reasons: list[str]


class PlanStore(StoreBase):
    """Plan sets. StoreError for a plan or job that the store does not hold."""

    def replace_plans(
        self,
        job_id: str,
        plans: Iterable[PlanRecord],
        metrics: Iterable[PlanMetricRecord] = (),
    ) -> None:
        """Put these plans, in this order, and figures in place of all that the job had.

        All or nothing; readers see the old set or the new. StoreError if a record is of another
        job, or a figure of a plan that is not given. Verifications stay.
        """
        plan_rows = [
            sealed(PlanRow, plan) | {"position": position} for position, plan in enumerate(plans)
        ]
        metric_rows = [sealed(PlanMetricRow, metric) for metric in metrics]
        for row in (*plan_rows, *metric_rows):
            if row["job_id"] != job_id:
                raise StoreError(f"a plan set of job {job_id!r} got a record of {row['job_id']!r}")
        with self.transaction(write=True) as connection:
            connection.execute(delete(PlanMetricRow).where(PlanMetricRow.job_id == job_id))
            connection.execute(delete(PlanRow).where(PlanRow.job_id == job_id))
            if plan_rows:
                connection.execute(insert(PlanRow), plan_rows)
            if metric_rows:
                connection.execute(insert(PlanMetricRow), metric_rows)

    def put_plan_metrics(self, metrics: Iterable[PlanMetricRecord]) -> None:
        """Add figures to stored plans, or replace those of the same metric, split and basis."""
        with self.transaction(write=True) as connection:
            put(connection, PlanMetricRow, list(metrics))

    def update_plan(self, job_id: str, key: str, **changes: Unpack[PlanChanges]) -> PlanRecord:
        """Change the named fields; returns the plan as it is then."""
        where = (PlanRow.job_id == job_id, PlanRow.key == key)
        with self.transaction(write=True) as connection:
            change(connection, PlanRecord, PlanRow, dict(changes), *where)
            held = find_one(connection, PlanRecord, PlanRow, *where)
            if held is None:
                raise StoreError(f"job {job_id!r} has no plan {key!r}")
            return held

    def list_plans(self, job_id: str) -> list[PlanEntry]:
        """Every plan of a job with its figures, in the order they were given: two queries."""
        with self.transaction() as connection:
            plans = find(
                connection,
                PlanRecord,
                PlanRow,
                PlanRow.job_id == job_id,
                order_by=(PlanRow.position,),
            )
            metrics = find(
                connection, PlanMetricRecord, PlanMetricRow, PlanMetricRow.job_id == job_id
            )
        return _entries(plans, metrics)

    def get_plan(self, job_id: str, key: str) -> PlanEntry | None:
        """One plan with its figures."""
        with self.transaction() as connection:
            where = (PlanRow.job_id == job_id, PlanRow.key == key)
            plans = find(connection, PlanRecord, PlanRow, *where)
            of_plan = (PlanMetricRow.job_id == job_id, PlanMetricRow.plan_key == key)
            metrics = find(connection, PlanMetricRecord, PlanMetricRow, *of_plan)
        return next(iter(_entries(plans, metrics)), None)

    def find_plan(self, prefix: str, *, job_id: str | None = None) -> PlanRecord:
        """The plan whose key is, or else begins with, `prefix`; letter case counts.

        Where several jobs hold a plan of that key, that of the job started last. StoreError if
        no key, or more than one, begins so: it names the keys.
        """
        if not prefix:
            raise StoreError("a plan is named by its key or the beginning of it, got nothing")
        where = [func.substr(PlanRow.key, 1, len(prefix)) == prefix]
        if job_id is not None:
            where.append(PlanRow.job_id == job_id)
        with self.transaction() as connection:
            plans = find(connection, PlanRecord, PlanRow, *where, order_by=(PlanRow.key,))
            plans = [plan for plan in plans if plan.key == prefix] or plans
            if len({plan.key for plan in plans}) != 1:
                raise StoreError(self._unclear(prefix, job_id, plans))
            jobs = {plan.job_id: plan for plan in plans}
            newest = find(
                connection,
                JobRecord,
                JobRow,
                JobRow.id.in_(jobs),
                order_by=(JobRow.started_at.desc(), JobRow.id.desc()),
                limit=1,
            )
        return jobs[newest[0].id]

    def _unclear(self, prefix: str, job_id: str | None, plans: list[PlanRecord]) -> str:
        place = f"store {self._location}" if job_id is None else f"job {job_id!r}"
        if not plans:
            return f"no plan in {place} has a key that begins with {prefix!r}"
        keys = list({plan.key: plan for plan in plans}.values())
        names = [f"{plan.key} ({plan.label})" for plan in keys[:_NAMED_AT_MOST]]
        more = f" and {len(keys) - len(names)} more" if len(keys) > len(names) else ""
        return (
            f"{len(keys)} plans in {place} begin with {prefix!r}: {', '.join(names)}{more}; "
            "give more letters"
        )

    def put_verification(
        self, record: VerificationRecord, *, replace: bool = False
    ) -> VerificationRecord:
        """Keep how a plan's bundle did; returns what the store holds afterwards.

        One per plan: an 'ok' one stays unless `replace` is set (as after another export of the
        plan), a failed one gives way.
        """
        where = (
            VerificationRow.job_id == record.job_id,
            VerificationRow.plan_key == record.plan_key,
        )
        over = None if replace else VerificationRow.state == "failed"
        with self.transaction(write=True) as connection:
            put(connection, VerificationRow, [record], over=over)
            held = find_one(connection, VerificationRecord, VerificationRow, *where)
        return cast(VerificationRecord, held)

    def list_verifications(self, job_id: str) -> list[VerificationRecord]:
        """Oldest first."""
        with self.transaction() as connection:
            return find(
                connection,
                VerificationRecord,
                VerificationRow,
                VerificationRow.job_id == job_id,
                order_by=(VerificationRow.created_at, VerificationRow.plan_key),
            )

    def put_corrections(self, records: Iterable[CorrectionRecord]) -> None:
        """Add corrections, or replace those of the same job and metric."""
        with self.transaction(write=True) as connection:
            put(connection, CorrectionRow, list(records))

    def list_corrections(
        self, *, device_key: str | None = None, job_id: str | None = None
    ) -> list[CorrectionRecord]:
        """Newest first."""
        with self.transaction() as connection:
            where = matching(CorrectionRow, device_key=device_key, job_id=job_id)
            order = (CorrectionRow.created_at.desc(), CorrectionRow.job_id, CorrectionRow.metric)
            return find(connection, CorrectionRecord, CorrectionRow, *where, order_by=order)


def _entries(plans: list[PlanRecord], metrics: list[PlanMetricRecord]) -> list[PlanEntry]:
    entries = {plan.key: PlanEntry(plan, {}) for plan in plans}
    for metric in metrics:
        key = (metric.metric, metric.split, metric.basis)
        entries[metric.plan_key].metrics[key] = metric
    return list(entries.values())
