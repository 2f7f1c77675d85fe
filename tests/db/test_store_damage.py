"""A bit that was lost is no other figure; a machine is not another; a clock that is set back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from trimtab.db import (
    CorrectionRecord,
    DeviceRecord,
    JobRecord,
    MeasurementRecord,
    PlanMetricRecord,
    PlanRecord,
    Store,
    VariantRecord,
    VerificationRecord,
    shown,
    utc_now,
)
from trimtab_runtime.errors import StoreError

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def filled(store: Store) -> Store:
    return fill(store)


def fill(store: Store) -> Store:
    store.put_device(DeviceRecord("dev", "local", {"cpu": "x"}))
    store.put_variant(VariantRecord("var", "lite0", "lite0", "onnx", None, None, {}, {}))
    store.put_measurement(
        MeasurementRecord("meas", "dev", "var", {}, {}, {"a_ms": 1.5}, {"a_ms": [1.25, 3e300]})
    )
    store.add_job(JobRecord("j", "job", {"n": 1}, "aa", started_at=AT))
    store.replace_plans(
        "j",
        [PlanRecord("j", "p", "plan", {"stages": []}, on_front=True)],
        [PlanMetricRecord("j", "p", "top1", "test", "replayed", 0.75, 0.5, 0.875)],
    )
    store.put_verification(VerificationRecord("j", "p", None, {"b": 2.0}, {"b": [2.0]}))
    store.put_corrections([CorrectionRecord("j", "top1", "dev", {"c": 1.0}, 3, 0.5, 0.25)])
    return store


READ: dict[str, Callable[[Store], object]] = {
    "device": lambda store: store.get_device("dev"),
    "variant": lambda store: store.get_variant("var"),
    "measurement": lambda store: store.get_measurement("meas"),
    "job": lambda store: store.list_jobs(),
    "plan": lambda store: store.find_plan("p"),
    "plan_metric": lambda store: store.list_plans("j"),
    "verification": lambda store: store.list_verifications("j"),
    "correction": lambda store: store.list_corrections(),
}
ALTERED = {
    "device": "address = 'ssh://other'",
    "variant": "member = 'lite1'",
    "measurement": """samples = '{"a_ms":[1.25,3e301]}'""",
    "job": "state = 'failed'",
    "plan": "is_chosen = true",
    "plan_metric": "value = 0.76",
    "verification": """"values" = '{"b": 2.5}'""",
    "correction": "error_held_out = 0.125",
}


def test_a_change_of_a_damaged_row_hides_nothing(filled: Store) -> None:
    with filled.transaction(write=True) as connection:
        connection.execute(text("UPDATE trimtab_job SET name = 'jot'"))
    for _ in range(2):
        with pytest.raises(StoreError, match="not what was written"):
            filled.update_job("j", state="failed")


@pytest.mark.parametrize("table", sorted(READ))
def test_an_altered_row_is_told(filled: Store, table: str) -> None:
    assert READ[table](filled)
    with filled.transaction(write=True) as connection:
        connection.execute(text(f"UPDATE trimtab_{table} SET {ALTERED[table]}"))
    with pytest.raises(StoreError, match=r"is not what was written.*restore it from a copy"):
        READ[table](filled)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("measurement", "samples = 'no JSON'"),
        ("job", "summary = '" + "[" * 5000 + "'"),
        ("job", "started_at = 'no time'"),
        ("plan", "is_chosen = 'perhaps'"),
    ],
)
def test_a_cell_that_is_nothing_is_told(tmp_path: Path, table: str, change: str) -> None:
    """SQLite takes any text in any column."""
    path = tmp_path / "trimtab.db"
    with Store.open(path) as store:
        fill(store)
        with store.transaction(write=True) as connection:
            connection.exec_driver_sql(f"UPDATE trimtab_{table} SET {change}")
        with pytest.raises(StoreError, match="is not what was written"):
            READ[table](store)


def test_what_changes_on_purpose_keeps_its_checksum(filled: Store, reopen: object) -> None:
    filled.update_job("j", state="done", message="é", summary={"chosen": "p", "n": [1, 2.5]})
    filled.update_plan("j", "p", is_chosen=True, reasons=["why"])
    filled.put_device(DeviceRecord("dev", "ssh://other", {"cpu": "x"}, "key"))
    filled.put_plan_metrics([PlanMetricRecord("j", "p", "top1", "test", "measured", 0.5)])
    for read in READ.values():
        assert read(filled)
    assert filled.list_jobs()[0].summary["n"] == [1, 2.5]


def test_rows_of_before_are_believed(filled: Store) -> None:
    with filled.transaction(write=True) as connection:
        connection.execute(text("UPDATE trimtab_plan_metric SET checksum = NULL, value = 0.5"))
    assert filled.list_plans("j")[0].value("top1", "test", "replayed") == 0.5
    filled.update_plan("j", "p", label="another")
    assert filled.find_plan("p").label == "another"


def test_machines_with_one_fingerprint_are_told_apart(store: Store) -> None:
    """A board that says it is this machine gets measurements of its own."""
    told = {"cpu": "x", "cores": "2"}
    local = store.meet_device("local", told, "mine")
    board = store.meet_device("ssh://board", told, "theirs")
    assert local.fingerprint == told
    assert board.key != local.key
    assert board.fingerprint == {**told, "identity": "theirs"}
    assert store.meet_device("ssh://board.lan", told, "theirs").key == board.key
    assert store.known_as("local", told, "mine") == local
    assert {device.key for device in store.list_devices()} == {local.key, board.key}


def test_machines_of_before_identities_are_known_by_their_address(store: Store) -> None:
    told = {"cpu": "x"}
    old = store.meet_device("local", told)
    assert old.identity is None
    assert store.known_as("ssh://board", told, "theirs").key != old.key
    assert store.meet_device("local", told, "mine").key == old.key
    assert store.known_as("local", told, "another").key != old.key
    # What has no identity (a recording) has only its fingerprint.
    assert store.meet_device("recorded:line.jsonl", told).key == old.key
    assert store.known_as("local", told, "mine").key == old.key


HOST = "UPDATE trimtab_lease SET host_id = 'another host'"


def elsewhere(store: Store, lasts_s: float = 60.0) -> None:
    """A lease that another host took just now."""
    with (
        store.lease("dev", holder="job-1", lasts_s=lasts_s),
        store.transaction(write=True) as connection,
    ):
        connection.execute(text(HOST + ", token = 'theirs'"))


def set_clock(store: Store, monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    monkeypatch.setattr(store, "now", lambda connection: now)


def test_a_clock_that_is_set_back_holds_no_lease_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    set_clock(store, monkeypatch, now)
    elsewhere(store)
    back = now - timedelta(hours=5)
    set_clock(store, monkeypatch, back)
    with (
        pytest.raises(StoreError, match="is being measured by 'job-1'"),
        store.lease("dev", holder="job-2"),
    ):
        pass
    set_clock(store, monkeypatch, back + timedelta(seconds=59))
    assert store.lease_holder("dev") is not None, "its holder had no time to refresh it"
    set_clock(store, monkeypatch, back + timedelta(seconds=61))
    with store.lease("dev", holder="job-2"):
        pass


def test_a_clock_that_jumps_frees_no_lease_of_this_host(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lease("dev", holder="job-1") as lease:
        for hours in (-5, 5, 100_000):
            set_clock(store, monkeypatch, utc_now() + timedelta(hours=hours))
            with (
                pytest.raises(StoreError, match="is being measured"),
                store.lease("dev", holder="job-2"),
            ):
                pass
        lease.refresh()


def test_a_password_is_never_told(tmp_path: Path) -> None:
    for url in (
        "postgresql://me:geheim@127.0.0.1:1/db",
        "postgresql://me@127.0.0.1:1/db?password=geheim",
        "postgresql://me:geheim@[::1/db",
        "mysql://me:geheim@host/db",
        "postgresql://me:geheim@127.0.0.1:port/db",
    ):
        assert "geheim" not in shown(url)
        with pytest.raises(StoreError) as told:
            Store.open(url, tmp_path)
        assert "geheim" not in str(told.value)
    assert shown("trimtab.db") == "trimtab.db"


def test_pages_that_are_damaged_are_no_traceback(tmp_path: Path) -> None:
    """Every page of a file in turn."""
    path = tmp_path / "trimtab.db"
    with Store.open(path) as store:
        store.add_job(JobRecord("j", "job", {"n": "x" * 9000}, "aa"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    for start in range(0, len(whole), 4096):
        path.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        try:
            with Store.open(path) as store:
                (job,) = store.list_jobs()
                assert job.spec == {"n": "x" * 9000}
        except StoreError:
            continue
