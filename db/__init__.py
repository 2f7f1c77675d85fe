"""The store of Trimtab: what jobs did, made and measured, on one page of names."""

from __future__ import annotations

from trimtab.db._base import let_go
from trimtab.db._collecting import Leftover, Unreferenced
from trimtab.db._engine import shown
from trimtab.db._jobs import JobChanges
from trimtab.db._plans import PlanChanges
from trimtab.db.artefacts import ArtefactStore
from trimtab.db.lease import LEASE_LASTS_S, Lease
from trimtab.db.records import (
    ArtefactRecord,
    Basis,
    CandidateRecord,
    CandidateRole,
    CandidateState,
    CorrectionRecord,
    DeviceRecord,
    EventRecord,
    ExposureRecord,
    Feasible,
    JobRecord,
    JobState,
    Json,
    LeaseRecord,
    Level,
    MeasurementRecord,
    PlanEntry,
    PlanMetricRecord,
    PlanRecord,
    Split,
    TraceRecord,
    VariantRecord,
    VerificationRecord,
    WorkloadRecord,
    WorkState,
    utc_now,
)
from trimtab.db.store import Store

__all__ = [
    "LEASE_LASTS_S",
    "ArtefactRecord",
    "ArtefactStore",
    "Basis",
    "CandidateRecord",
    "CandidateRole",
    "CandidateState",
    "CorrectionRecord",
    "DeviceRecord",
    "EventRecord",
    "ExposureRecord",
    "Feasible",
    "JobChanges",
    "JobRecord",
    "JobState",
    "Json",
    "Lease",
    "LeaseRecord",
    "Leftover",
    "Level",
    "MeasurementRecord",
    "PlanChanges",
    "PlanEntry",
    "PlanMetricRecord",
    "PlanRecord",
    "Split",
    "Store",
    "TraceRecord",
    "Unreferenced",
    "VariantRecord",
    "VerificationRecord",
    "WorkState",
    "WorkloadRecord",
    "let_go",
    "shown",
    "utc_now",
]
