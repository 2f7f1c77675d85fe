"""What the store keeps, as plain frozen values.

Every time is an aware datetime (kept as UTC, to the microsecond). Open structures are JSON: dicts
with string keys, lists, strings, numbers, booleans and None. A value that is not known is absent
(None, or no such key); NaN and infinities are refused when a record is stored. Numbers carry
their unit in the name of the metric (`latency_p95_ms`), or none.

`key` of a device, workload, variant, measurement or trace is made by the caller from the content:
equal keys mean the same thing, whichever job met it first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Json = dict[str, Any]
WorkState = Literal["ok", "failed"]
JobState = Literal["running", "done", "failed", "interrupted"]
CandidateRole = Literal["baseline", "candidate"]
CandidateState = Literal["measured", "failed", "skipped"]
Feasible = Literal["yes", "no", "unknown"]
Split = Literal["tune", "test", "none"]
Basis = Literal["replayed", "guarded", "predicted", "measured", "optimism"]
Level = Literal["info", "warning", "error"]


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class DeviceRecord:
    """A device as last met: `fingerprint` never changes for a key, `address` may. `identity` is
    that of the machine (None: not known): what was measured there says nothing of another with
    the same fingerprint."""

    key: str
    address: str
    fingerprint: Json
    identity: str | None = None


@dataclass(frozen=True)
class ArtefactRecord:
    """A file of the artefact store."""

    sha256: str
    kind: str
    size_bytes: int
    name: str


@dataclass(frozen=True)
class WorkloadRecord:
    """Inputs, splits and stream, summed up for people."""

    key: str
    name: str
    summary: Json


@dataclass(frozen=True)
class VariantRecord:
    """A runnable artefact made from a member.

    `recipe` is its lineage (steps, parents, data, seed); `io` its input and output formats.
    """

    key: str
    member: str
    name: str
    format: str
    artefact_sha256: str | None
    size_bytes: int | None
    recipe: Json
    io: Json
    state: WorkState = "ok"
    reason: str | None = None


@dataclass(frozen=True)
class MeasurementRecord:
    """A primitive measured on a device: raw `samples` by metric, and `values` drawn from them.

    `options` are the runtime's, `settings` how it was measured, `details` what a reader of the
    values must know, such as the method of the energy figure.
    """

    key: str
    device_key: str
    variant_key: str
    options: Json
    settings: Json
    values: dict[str, float]
    samples: dict[str, list[float]]
    warnings: list[str] = field(default_factory=list)
    state: WorkState = "ok"
    reason: str | None = None
    created_at: datetime = field(default_factory=utc_now)
    details: Json = field(default_factory=dict)


@dataclass(frozen=True)
class TraceRecord:
    """What a variant says on every input of a workload; the arrays lie in the artefact."""

    key: str
    variant_key: str
    workload_key: str
    engine_key: str
    artefact_sha256: str | None
    state: WorkState = "ok"
    reason: str | None = None
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True)
class JobRecord:
    """One run of the planner. `finished_at` is None exactly while `state` is 'running'."""

    id: str
    name: str
    spec: Json
    spec_sha256: str
    state: JobState = "running"
    device_key: str | None = None
    workload_key: str | None = None
    started_at: datetime = field(default_factory=utc_now)
    finished_at: datetime | None = None
    progress: Json = field(default_factory=dict)
    message: str | None = None
    summary: Json = field(default_factory=dict)


@dataclass(frozen=True)
class CandidateRecord:
    """A variant with runtime options that a job considered; `key` is unique within the job."""

    job_id: str
    key: str
    variant_key: str
    options: Json
    role: CandidateRole
    trial_number: int | None
    state: CandidateState
    reason: str | None = None


@dataclass(frozen=True)
class PlanRecord:
    """A plan of a job; `key` is unique within the job."""

    job_id: str
    key: str
    label: str
    definition: Json
    is_baseline: bool = False
    on_front: bool = False
    is_chosen: bool = False
    feasible: Feasible = "unknown"
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PlanMetricRecord:
    """One figure of a plan; (metric, split, basis) is unique within the plan.

    `low` and `high` bound its 95 % interval, in the unit of the metric.
    """

    job_id: str
    plan_key: str
    metric: str
    split: Split
    basis: Basis
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PlanEntry:
    """A plan with its figures by (metric, split, basis)."""

    plan: PlanRecord
    metrics: dict[tuple[str, str, str], PlanMetricRecord]

    def value(self, metric: str, split: Split, basis: Basis) -> float | None:
        """The figure, or None where it is not known."""
        found = self.metrics.get((metric, split, basis))
        return None if found is None else found.value


@dataclass(frozen=True)
class VerificationRecord:
    """The exported bundle of a plan, measured on the device over the test split.

    `details` are as those of a measurement.
    """

    job_id: str
    plan_key: str
    bundle_sha256: str | None
    values: dict[str, float]
    samples: dict[str, list[float]]
    state: WorkState = "ok"
    reason: str | None = None
    created_at: datetime = field(default_factory=utc_now)
    details: Json = field(default_factory=dict)


@dataclass(frozen=True)
class CorrectionRecord:
    """How measured costs of a job's plans differ from predicted ones; one per metric.

    `model` are coefficients by the name of the feature, learned from `plans` verified plans.
    The errors are medians of |measured/predicted - 1|: without the correction, and with it,
    leaving out the plan that is predicted.
    """

    job_id: str
    metric: str
    device_key: str
    model: Json
    plans: int
    error_before: float
    error_held_out: float
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True)
class ExposureRecord:
    """One look at a split of a workload, over `plans` plans."""

    job_id: str
    workload_key: str
    split: Split
    reason: str
    plans: int
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True)
class EventRecord:
    """A line of a job's log; `subject` names what `text` is about."""

    job_id: str
    at: datetime
    level: Level
    subject: str
    text: str


@dataclass(frozen=True)
class LeaseRecord:
    """Who measures on a device. `birth` tells a process from a later one with the same pid.

    On its own host (`host_id`) a lease lasts as long as its process lives; seen from another
    host it lasts until `expires_at`, `lasts_s` seconds after it was last refreshed.
    """

    device_key: str
    holder: str
    token: str
    host: str
    host_id: str
    pid: int
    birth: str
    acquired_at: datetime
    expires_at: datetime
    lasts_s: float | None = None
