"""Tables. Columns bear the names of the fields of `trimtab.db.records`; `trimtab.db._codec`
stands between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes on every engine; SQLite keeps the UTC clock without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON,
        list[str]: JSON,
        datetime: UtcDateTime,
        float: Double,
        str: String,
    }


class Sealed:
    """Rows with a checksum of what was written (`trimtab.db._seal`); None in those of before."""

    checksum: Mapped[str | None]


class DeviceRow(Sealed, Base):
    __tablename__ = "trimtab_device"
    key: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str]
    fingerprint: Mapped[dict[str, Any]]
    identity: Mapped[str | None]


class ArtefactRow(Sealed, Base):
    __tablename__ = "trimtab_artefact"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]


class WorkloadRow(Sealed, Base):
    __tablename__ = "trimtab_workload"
    key: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    summary: Mapped[dict[str, Any]]


class VariantRow(Sealed, Base):
    __tablename__ = "trimtab_variant"
    key: Mapped[str] = mapped_column(primary_key=True)
    member: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    format: Mapped[str]
    artefact_sha256: Mapped[str | None] = mapped_column(ForeignKey(ArtefactRow.sha256))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    recipe: Mapped[dict[str, Any]]
    io: Mapped[dict[str, Any]]
    state: Mapped[str]
    reason: Mapped[str | None]


class MeasurementRow(Sealed, Base):
    __tablename__ = "trimtab_measurement"
    key: Mapped[str] = mapped_column(primary_key=True)
    device_key: Mapped[str] = mapped_column(ForeignKey(DeviceRow.key), index=True)
    variant_key: Mapped[str] = mapped_column(ForeignKey(VariantRow.key), index=True)
    options: Mapped[dict[str, Any]]
    settings: Mapped[dict[str, Any]]
    values: Mapped[dict[str, Any]]
    samples: Mapped[dict[str, Any]]
    warnings: Mapped[list[str]]
    state: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class TraceRow(Sealed, Base):
    __tablename__ = "trimtab_trace"
    key: Mapped[str] = mapped_column(primary_key=True)
    variant_key: Mapped[str] = mapped_column(ForeignKey(VariantRow.key), index=True)
    workload_key: Mapped[str] = mapped_column(ForeignKey(WorkloadRow.key), index=True)
    engine_key: Mapped[str]
    artefact_sha256: Mapped[str | None] = mapped_column(ForeignKey(ArtefactRow.sha256))
    state: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]


class JobRow(Sealed, Base):
    __tablename__ = "trimtab_job"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    spec_sha256: Mapped[str] = mapped_column(index=True)
    state: Mapped[str]
    device_key: Mapped[str | None] = mapped_column(ForeignKey(DeviceRow.key))
    workload_key: Mapped[str | None] = mapped_column(ForeignKey(WorkloadRow.key))
    started_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any]]
    message: Mapped[str | None]
    summary: Mapped[dict[str, Any]]


class CandidateRow(Sealed, Base):
    """`variant_key` is no foreign key: a skipped candidate's variant may never be made."""

    __tablename__ = "trimtab_candidate"
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    variant_key: Mapped[str] = mapped_column(index=True)
    options: Mapped[dict[str, Any]]
    role: Mapped[str]
    trial_number: Mapped[int | None]
    state: Mapped[str]
    reason: Mapped[str | None]


class PlanRow(Sealed, Base):
    """`position` keeps the order in which the plans of a job were given."""

    __tablename__ = "trimtab_plan"
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    label: Mapped[str]
    definition: Mapped[dict[str, Any]]
    is_baseline: Mapped[bool]
    on_front: Mapped[bool]
    is_chosen: Mapped[bool]
    feasible: Mapped[str]
    reasons: Mapped[list[str]]


class PlanMetricRow(Sealed, Base):
    __tablename__ = "trimtab_plan_metric"
    __table_args__ = (ForeignKeyConstraint(["job_id", "plan_key"], [PlanRow.job_id, PlanRow.key]),)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    plan_key: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True)
    basis: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]


class VerificationRow(Sealed, Base):
    """Outlives a replaced plan set, so `plan_key` is no foreign key."""

    __tablename__ = "trimtab_verification"
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    plan_key: Mapped[str] = mapped_column(primary_key=True)
    bundle_sha256: Mapped[str | None]
    values: Mapped[dict[str, Any]]
    samples: Mapped[dict[str, Any]]
    state: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class CorrectionRow(Sealed, Base):
    __tablename__ = "trimtab_correction"
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    device_key: Mapped[str] = mapped_column(ForeignKey(DeviceRow.key), index=True)
    model: Mapped[dict[str, Any]]
    plans: Mapped[int]
    error_before: Mapped[float]
    error_held_out: Mapped[float]
    created_at: Mapped[datetime]


class ExposureRow(Sealed, Base):
    __tablename__ = "trimtab_exposure"
    __table_args__ = (Index(None, "workload_key", "split"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id))
    workload_key: Mapped[str] = mapped_column(ForeignKey(WorkloadRow.key))
    split: Mapped[str]
    reason: Mapped[str]
    plans: Mapped[int]
    created_at: Mapped[datetime]


class EventRow(Sealed, Base):
    __tablename__ = "trimtab_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id), index=True)
    at: Mapped[datetime]
    level: Mapped[str]
    subject: Mapped[str]
    text: Mapped[str]


class LeaseRow(Base):
    """A device may be leased before its fingerprint is stored: no foreign key."""

    __tablename__ = "trimtab_lease"
    device_key: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    token: Mapped[str]
    host: Mapped[str]
    host_id: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    birth: Mapped[str]
    acquired_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    lasts_s: Mapped[float | None]
