"""Databases that released versions made (fixtures/make.py); over both engines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory

from trimtab.db import (
    ArtefactRecord,
    CandidateRecord,
    CorrectionRecord,
    DeviceRecord,
    EventRecord,
    ExposureRecord,
    JobRecord,
    MeasurementRecord,
    PlanMetricRecord,
    PlanRecord,
    Store,
    TraceRecord,
    VariantRecord,
    VerificationRecord,
    WorkloadRecord,
)
from trimtab.db._migrate import MIGRATIONS, _newest
from trimtab_runtime.errors import StoreError

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(path.name[8:12] for path in FIXTURES.glob("schema_v*.sqlite.sql"))
AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
MODEL, TRACE, BUNDLE = "ab" * 32, "cd" * 32, "ef" * 32

CORRECTION = CorrectionRecord("j1", "latency_mean_ms", "dev", {"stages": 0.25}, 4, 0.1, 0.05, AT)
DEVICE = DeviceRecord("dev", "local", {"cpu": "x", "cores": 2})
ARTEFACTS = [
    ArtefactRecord(BUNDLE, "bundle", 30, "p1.pyz"),
    ArtefactRecord(MODEL, "model", 5_000_000_000, "é.onnx"),
    ArtefactRecord(TRACE, "trace", 20, "lite0.npz"),
]
WORKLOAD = WorkloadRecord("work", "photos", {"images": 100})
RECIPE = {"steps": ["export", "it's"], "seed": 0}
IO = {"input": {"size": [224, 224]}}
WHY = "no kernel; 'int4'"
VARIANTS = [
    VariantRecord("bad", "lite0", "lite0 int4", "onnx", None, None, {}, {}, "failed", WHY),
    VariantRecord("var", "lite0", "lite0 int8", "onnx", MODEL, 5_000_000_000, RECIPE, IO),
]
MEASUREMENT = MeasurementRecord(
    key="meas",
    device_key="dev",
    variant_key="var",
    options={"threads": 1},
    settings={"warm_up": 10},
    values={"latency_mean_ms": 0.1 + 0.2},
    samples={"latency_ms": [0.1, 1e-9, 3e300]},
    warnings=["unsteady"],
    created_at=AT,
    details={},
)
JOB = JobRecord(
    id="j1",
    name="camera",
    spec={"name": "camera", "budget": None},
    spec_sha256="12" * 32,
    state="done",
    device_key="dev",
    workload_key="work",
    started_at=AT,
    finished_at=AT,
    progress={"step": "verify"},
    summary={"plans": 1},
)
CANDIDATE = CandidateRecord("j1", "c1", "var", {"threads": 1}, "candidate", 3, "measured")
EXPOSURE = ExposureRecord("j1", "work", "test", "report", 4, AT)
EVENT = EventRecord("j1", AT, "warning", "s", "hot")
PLAN = PlanRecord("j1", "p1", "lite0 1t", {"route": "single"}, False, True, True, "yes", ["fast"])
METRIC = PlanMetricRecord("j1", "p1", "top1", "test", "replayed", 0.75, 0.7)
VERIFICATION = VerificationRecord(
    "j1", "p1", BUNDLE, {"latency_mean_ms": 4.5}, {"latency_ms": [4.0, 5.0]}, created_at=AT
)


@pytest.fixture(params=VERSIONS)
def released(request: pytest.FixtureRequest, place: str) -> str:
    """The version of the database that lies at `place`."""
    engine = "postgresql" if "://" in place else "sqlite"
    script = (FIXTURES / f"schema_v{request.param}.{engine}.sql").read_text(encoding="utf-8")
    if engine == "sqlite":
        with closing(sqlite3.connect(place)) as connection:
            connection.executescript(script)
    else:
        with psycopg.connect(place, autocommit=True) as server:
            server.execute(script.encode())
    return str(request.param)


def test_a_released_database_keeps_all_it_held(
    released: str, reopen: Callable[..., Store]
) -> None:
    store = reopen()
    assert store.list_devices() == [DEVICE]
    assert store.list_artefacts() == ARTEFACTS
    assert store.list_workloads() == [WORKLOAD]
    assert store.list_variants() == VARIANTS
    assert store.list_measurements() == [MEASUREMENT]
    assert store.list_traces() == [
        TraceRecord("trace", "var", "work", "ort", TRACE, "ok", None, AT)
    ]
    assert store.list_jobs() == [JOB]
    assert store.list_candidates("j1") == [CANDIDATE]
    assert store.list_exposures() == [EXPOSURE]
    assert store.list_events("j1") == [EVENT]
    (entry,) = store.list_plans("j1")
    assert entry.plan == PLAN
    assert entry.metrics == {("top1", "test", "replayed"): METRIC}
    assert store.list_verifications("j1") == [VERIFICATION]
    holder = store.lease_holder("dev")
    assert holder is not None
    assert (holder.holder, holder.expires_at) == ("job j1", datetime(2999, 1, 1, tzinfo=UTC))
    assert store.list_corrections() == ([] if released == "0001" else [CORRECTION])


def test_a_released_database_takes_new_rows(released: str, reopen: Callable[..., Store]) -> None:
    store = reopen()
    store.add_event(EVENT)
    store.add_exposure(EXPOSURE)
    assert store.list_events("j1") == [EVENT, EVENT]
    assert store.count_exposures("work") == 2
    with pytest.raises(StoreError, match="does not hold"):
        store.put_variant(VariantRecord("v2", "m", "n", "onnx", "00" * 32, 1, {}, {}))


def test_reading_only_asks_for_the_migration(released: str, reopen: Callable[..., Store]) -> None:
    said = f"has the tables of version {released}, this Trimtab needs {_newest(MIGRATIONS)}; open"
    with pytest.raises(StoreError, match=said):
        reopen(read_only=True)
    reopen()
    assert reopen(read_only=True).list_jobs() == [JOB]


def test_every_schema_before_a_migration_has_its_fixture() -> None:
    """Fails when a migration was added: see fixtures/make.py."""
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    before = sorted(str(script.down_revision) for script in scripts if script.down_revision)
    assert before == VERSIONS
    for version in VERSIONS:
        assert (FIXTURES / f"schema_v{version}.postgresql.sql").is_file()
