"""Disks that are full, and have room again: SQLite, PostgreSQL and artefacts on a real one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trimtab.db import ArtefactStore, DeviceRecord, EventRecord, JobRecord, Store, utc_now
from trimtab_runtime.errors import StoreError

FULL = "the disk is full; free some space"


def big(key: str) -> DeviceRecord:
    """A megabyte that does not compress."""
    return DeviceRecord(key, "local", {"text": os.urandom(500_000).hex()})


def events_until_full(store: Store) -> list[EventRecord]:
    """Those whose commit was confirmed."""
    kept = []
    with pytest.raises(StoreError, match=FULL):
        for number in range(10_000):
            text = f"{number} {os.urandom(2000).hex()}"
            event = EventRecord("j1", utc_now(), "info", "filling", text)
            store.add_event(event)
            kept.append(event)
    return kept


def fill_and_go_on(small_disk: Any, store: Store) -> tuple[list[EventRecord], DeviceRecord]:
    """Write until the disk is full, make room, write again. What must be there at the end."""
    filler = small_disk.fill()
    kept = events_until_full(store)
    with pytest.raises(StoreError, match=FULL):
        store.put_device(big("dev"))
    assert store.list_events("j1") == kept
    assert store.list_devices() == []

    filler.unlink()
    device = big("dev")
    store.put_device(device)
    assert store.list_events("j1") == kept
    return kept, device


@pytest.fixture
def on_small_disk(small_disk: Any) -> Iterator[Store]:
    with Store.open(small_disk.folder / "store.db") as store:
        store.add_job(JobRecord("j1", "camera", {}, "aa"))
        yield store


def test_sqlite_keeps_every_committed_row_and_goes_on(
    small_disk: Any, on_small_disk: Store
) -> None:
    store = on_small_disk
    kept, device = fill_and_go_on(small_disk, store)
    store.close()
    with Store.open(small_disk.folder / "store.db") as again:
        assert again.list_events("j1") == kept
        assert again.list_devices() == [device]
        with again.transaction() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_sqlite_is_opened_or_says_that_the_disk_is_full(small_disk: Any) -> None:
    place = small_disk.folder / "store.db"
    with Store.open(place) as store:
        store.add_job(JobRecord("j1", "camera", {}, "aa"))
    filler = small_disk.fill()
    for _ in range(2):
        with pytest.raises(StoreError, match=FULL):
            Store.open(place)
    with pytest.raises(StoreError, match=FULL):
        Store.open(small_disk.folder / "new.db")

    filler.unlink()
    for name in ("store.db", "new.db"):
        with Store.open(small_disk.folder / name) as store:
            assert [job.id for job in store.list_jobs()] == ["j1"] * (name == "store.db")


def test_a_process_that_dies_on_a_full_disk_leaves_what_it_had(
    small_disk: Any, on_small_disk: Store, second: Callable[..., Any]
) -> None:
    script = """
import os, sys; from trimtab.db import Store, DeviceRecord
store = Store.open(sys.argv[1])
for number in range(1000):
    store.put_device(DeviceRecord(f"{number:04}", "local", {"text": os.urandom(20_000).hex()}))
    print(number, flush=True)
"""
    writer = second(script, str(small_disk.folder / "store.db"))
    heard = [line for line in iter(writer.hear, "")]
    assert writer.process.wait() == 1
    assert len(on_small_disk.list_devices()) == len(heard) > 10


def test_artefacts_keep_whole_files_only_and_go_on(small_disk: Any, tmp_path: Path) -> None:
    files = ArtefactStore(small_disk.folder / "artefacts")
    first, content = files.put_bytes(b"first"), os.urandom(2_000_000)
    (tmp_path / "model").write_bytes(content)
    filler = small_disk.fill()
    for put in (lambda: files.put_bytes(content), lambda: files.put_file(tmp_path / "model")):
        with pytest.raises(StoreError, match=FULL):
            put()
    assert [file.sha256 for file in files.files()] == [first]
    assert files.path(first).read_bytes() == b"first"

    filler.unlink()
    assert files.path(files.put_bytes(content)).read_bytes() == content
    assert files.path(first).read_bytes() == b"first"


def test_a_row_that_cannot_be_kept_leaves_a_file_for_later(
    small_disk: Any, tmp_path: Path
) -> None:
    """The database lies on the full disk, the artefacts do not."""
    with Store.open(small_disk.folder / "store.db", tmp_path / "artefacts") as store:
        store.add_job(JobRecord("j1", "camera", {}, "aa"))
        filler = small_disk.fill()
        events_until_full(store)
        with pytest.raises(StoreError, match=FULL):
            for number in range(1000):
                store.save_bytes(b"%d" % number, kind="model", name=f"{number}" * 1000)
        filler.unlink()
        record = store.save_bytes(b"%d" % 0, kind="model", name="again")
        assert store.artefacts.path(record.sha256).read_bytes() == b"0"


@pytest.fixture
def on_small_tablespace(small_disk: Any, postgres_url: str) -> Iterator[Store]:
    """A PostgreSQL store whose tables of devices and events lie on the small disk."""
    folder = small_disk.folder / "tablespace"
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    with (
        Store.open(postgres_url) as store,
        psycopg.connect(postgres_url, autocommit=True) as admin,
    ):
        admin.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        try:
            for table in ("trimtab_device", "trimtab_event"):
                admin.execute(f"ALTER TABLE {table} SET TABLESPACE small")
            store.add_job(JobRecord("j1", "camera", {}, "aa"))
            yield store
        finally:
            store.close()
            admin.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            admin.execute("CHECKPOINT")
            admin.execute("DROP TABLESPACE small")


def test_postgresql_keeps_every_committed_row_and_goes_on(
    small_disk: Any, on_small_tablespace: Store
) -> None:
    store = on_small_tablespace
    _, device = fill_and_go_on(small_disk, store)
    assert store.list_devices() == [device]
