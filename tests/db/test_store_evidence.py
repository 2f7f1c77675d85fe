"""Devices, artefacts, workloads, variants, measurements and traces; over both engines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from trimtab.db import (
    ArtefactRecord,
    DeviceRecord,
    MeasurementRecord,
    Store,
    TraceRecord,
    VariantRecord,
    WorkloadRecord,
)
from trimtab_runtime.errors import StoreError

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
SHA = "ab" * 32
DEVICE = DeviceRecord("dev", "local", {"cpu": "x", "cores": 2, "runtimes": {"ort": "1.31"}})
WORKLOAD = WorkloadRecord("work", "photos", {"images": 100})
VARIANT = VariantRecord(
    key="var",
    member="lite0",
    name="lite0 int8",
    format="onnx",
    artefact_sha256=SHA,
    size_bytes=5_000_000_000,
    recipe={"steps": ["export", "quantise"], "parents": [], "seed": 0},
    io={"input": {"size": [224, 224]}},
)
MEASUREMENT = MeasurementRecord(
    key="meas",
    device_key="dev",
    variant_key="var",
    options={"threads": 1},
    settings={"warm_up": 10},
    values={"latency_mean_ms": 0.1 + 0.2},
    samples={"latency_ms": [0.1, 1e-9, 3e300]},
    warnings=["unsteady: close other programs"],
    created_at=AT,
    details={"energy": "rapl"},
)
TRACE = TraceRecord("trace", "var", "work", "ort-1.31", SHA, created_at=AT)


@pytest.fixture
def evidence(store: Store) -> Store:
    store.put_device(DEVICE)
    store.put_artefact(ArtefactRecord(SHA, "onnx", 10, "lite0.onnx"))
    store.put_workload(WORKLOAD)
    store.put_variant(VARIANT)
    return store


def test_everything_comes_back_as_it_was(evidence: Store) -> None:
    assert evidence.put_measurement(MEASUREMENT) == MEASUREMENT
    assert evidence.put_trace(TRACE) == TRACE

    assert evidence.get_device("dev") == DEVICE
    assert evidence.get_workload("work") == WORKLOAD
    assert evidence.get_artefact(SHA) == ArtefactRecord(SHA, "onnx", 10, "lite0.onnx")
    assert evidence.get_variant("var") == VARIANT
    assert evidence.get_measurement("meas") == MEASUREMENT
    assert evidence.get_trace("trace") == TRACE


def test_a_key_that_is_not_held_is_none(store: Store) -> None:
    assert store.get_device("no") is None
    assert store.get_workload("no") is None
    assert store.get_artefact("no") is None
    assert store.get_variant("no") is None
    assert store.get_measurement("no") is None
    assert store.get_trace("no") is None


def test_times_of_other_zones_are_kept_as_utc(evidence: Store) -> None:
    summer = timezone(timedelta(hours=2))
    held = evidence.put_trace(replace(TRACE, created_at=AT.astimezone(summer)))

    assert held.created_at == AT
    assert held.created_at.tzinfo is UTC


def test_a_failed_one_gives_way_and_an_ok_one_stays(evidence: Store) -> None:
    failed = replace(MEASUREMENT, state="failed", reason="killed", values={}, samples={})
    other = replace(MEASUREMENT, values={"latency_mean_ms": 9.0})

    assert evidence.put_measurement(failed) == failed
    assert evidence.put_measurement(MEASUREMENT) == MEASUREMENT
    assert evidence.put_measurement(failed) == MEASUREMENT
    assert evidence.put_measurement(other) == MEASUREMENT
    assert evidence.put_measurement(other, replace=True) == other
    assert evidence.get_measurement("meas") == other


def test_variants_and_traces_follow_the_same_rule(evidence: Store) -> None:
    failed = replace(VARIANT, key="v2", state="failed", reason="no kernel", artefact_sha256=None)
    assert evidence.put_variant(failed) == failed
    assert evidence.put_variant(replace(VARIANT, key="v2")).state == "ok"
    assert evidence.put_variant(failed).state == "ok"

    failed_trace = replace(TRACE, state="failed", reason="out of memory", artefact_sha256=None)
    assert evidence.put_trace(failed_trace) == failed_trace
    assert evidence.put_trace(TRACE) == TRACE
    assert evidence.put_trace(failed_trace) == TRACE


def test_lists_are_filtered(evidence: Store) -> None:
    evidence.put_variant(replace(VARIANT, key="v2", member="lite1", state="failed", reason="x"))
    evidence.put_measurement(MEASUREMENT)
    evidence.put_measurement(replace(MEASUREMENT, key="m0", created_at=AT - timedelta(days=1)))
    evidence.put_trace(TRACE)

    assert [variant.key for variant in evidence.list_variants()] == ["var", "v2"]
    assert [variant.key for variant in evidence.list_variants(member="lite1")] == ["v2"]
    assert [variant.key for variant in evidence.list_variants(state="ok")] == ["var"]
    assert [item.key for item in evidence.list_measurements()] == ["m0", "meas"]
    assert evidence.list_measurements(device_key="dev", variant_key="v2") == []
    assert [trace.key for trace in evidence.list_traces(workload_key="work")] == ["trace"]
    assert evidence.list_traces(variant_key="v2") == []
    assert [device.key for device in evidence.list_devices()] == ["dev"]
    assert [workload.key for workload in evidence.list_workloads()] == ["work"]
    assert [item.sha256 for item in evidence.list_artefacts(kind="onnx")] == [SHA]
    assert evidence.list_artefacts(kind="npz") == []


def test_a_device_may_move_and_not_change(evidence: Store) -> None:
    evidence.put_device(replace(DEVICE, address="ssh://pi@192.0.2.7"))
    assert evidence.get_device("dev") == replace(DEVICE, address="ssh://pi@192.0.2.7")

    with pytest.raises(StoreError, match="another fingerprint"):
        evidence.put_device(replace(DEVICE, fingerprint={"cpu": "y"}))


def test_the_first_name_of_an_artefact_stays(evidence: Store) -> None:
    held = evidence.put_artefact(ArtefactRecord(SHA, "onnx", 10, "copy.onnx"))
    assert held.name == "lite0.onnx"


def test_a_record_that_refers_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="refers to one it does not hold"):
        store.put_measurement(MEASUREMENT)
    assert store.list_measurements() == []


def test_files_are_saved_with_their_record(store: Store) -> None:
    record = store.save_bytes(b"model", kind="onnx", name="m.onnx")

    assert store.get_artefact(record.sha256) == record
    assert record.size_bytes == 5
    assert store.artefacts.path(record.sha256).read_bytes() == b"model"


def test_odd_letters_in_a_reason_do_not_stop_a_failure_from_being_kept(evidence: Store) -> None:
    reason = "died: \0 and \udcff and \U0001f4a5"
    held = evidence.put_trace(replace(TRACE, state="failed", reason=reason))
    assert held.reason == "died: \ufffd and \ufffd and \U0001f4a5"


def test_json_keeps_what_json_can_say(evidence: Store) -> None:
    recipe = {"text": "\0 \udcff 'é", "none": None, "deep": [[1, 2.5, True], {}], "": "empty"}
    held = evidence.put_variant(replace(VARIANT, key="v3", recipe=recipe))
    assert held.recipe == recipe
