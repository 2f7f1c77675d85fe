"""What a user is told when the database cannot do its work; over both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from trimtab.db import DeviceRecord, JobRecord, Store
from trimtab_runtime.errors import StoreError

HALF = """
import sys; from trimtab.db import Store; from sqlalchemy import text
with Store.open(sys.argv[1]) as store, store.transaction(write=True) as connection:
    connection.execute(text("UPDATE trimtab_job SET message = 'half', checksum = NULL"))
    print("half", flush=True); input()
"""
IMMEDIATE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM trimtab_job")
print("locked", flush=True); input()
"""


@pytest.fixture
def job(store: Store) -> Store:
    store.add_job(JobRecord("j1", "one", {}, "aa", message="whole"))
    return store


def test_a_locked_store_says_so(job: Store, reopen: Callable[..., Store]) -> None:
    hasty = reopen(busy_timeout_s=0.05)
    with job.transaction(write=True) as connection:
        connection.execute(text("UPDATE trimtab_job SET message = 'held', checksum = NULL"))
        with pytest.raises(StoreError, match="is locked by another process; let it finish"):
            hasty.update_job("j1", message="mine")
    assert hasty.update_job("j1", progress={"n": 1}).message == "held"


def test_another_process_that_writes_is_waited_for_and_then_named(
    job: Store, place: str, reopen: Callable[..., Store], second: Callable[..., Any]
) -> None:
    hasty = reopen(busy_timeout_s=0.2)
    writer = second(HALF, place)
    assert writer.hear() == "half"
    with pytest.raises(StoreError, match=r"is locked by another process; let it finish, or stop"):
        hasty.update_job("j1", progress={"n": 1})
    assert hasty.list_jobs()[0].message == "whole"

    writer.say()
    assert writer.process.wait() == 0
    held = hasty.update_job("j1", progress={"n": 2})
    assert (held.message, held.progress) == ("half", {"n": 2})


def test_a_sqlite_file_that_another_program_locked(
    tmp_path: Path, second: Callable[..., Any]
) -> None:
    """Not even ours: the sqlite3 shell, a backup, a viewer with a change pending."""
    place = tmp_path / "store.db"
    with Store.open(place) as store:
        store.add_job(JobRecord("j1", "one", {}, "aa"))
    other = second(IMMEDIATE, str(place))
    assert other.hear() == "locked"

    with pytest.raises(StoreError, match=r"store\.db is locked by another process; let it finish"):
        Store.open(place, busy_timeout_s=0.2)
    with Store.open(place, read_only=True) as reader:
        assert [job.id for job in reader.list_jobs()] == ["j1"]
    other.kill()
    with Store.open(place, busy_timeout_s=0.2) as store:
        store.add_job(JobRecord("j2", "two", {}, "aa"))
        assert {job.id for job in store.list_jobs()} == {"j1", "j2"}


def test_readers_do_not_wait_for_a_writer(job: Store, reopen: Callable[..., Store]) -> None:
    hasty = reopen(busy_timeout_s=0.05)
    with job.transaction(write=True) as connection:
        connection.execute(text("UPDATE trimtab_job SET message = 'held', checksum = NULL"))
        assert hasty.list_jobs()[0].message == "whole"


def test_an_error_of_the_caller_rolls_back(job: Store) -> None:
    with pytest.raises(ZeroDivisionError), job.transaction(write=True) as connection:
        connection.execute(text("UPDATE trimtab_job SET message = 'half', checksum = NULL"))
        raise ZeroDivisionError
    assert job.list_jobs()[0].message == "whole"


def test_a_killed_writer_leaves_the_state_before(
    job: Store, place: str, second: Callable[..., Any]
) -> None:
    writer = second(HALF, place)
    assert writer.hear() == "half"
    writer.kill()

    assert job.update_job("j1", progress={"n": 1}).message == "whole"


def test_a_full_disk_says_so(store: Store) -> None:
    fill = {
        "sqlite": "PRAGMA max_page_count = 1",
        "postgresql": "DO $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$",
    }
    big = DeviceRecord("dev", "local", {"text": "x" * 10_000_000})
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        with store.transaction() as connection:
            connection.execute(text(fill[connection.dialect.name]))
        store.put_device(big)
    assert store.list_devices() == []


def test_sql_that_is_wrong_is_a_store_error_too(store: Store) -> None:
    with pytest.raises(StoreError, match="failed"), store.transaction() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))
    assert store.list_jobs() == []


def test_a_connection_that_was_cut_is_made_anew(postgres_url: str) -> None:
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    cut = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    with Store.open(postgres_url) as store, Store.open(postgres_url) as other:
        with (
            pytest.raises(StoreError, match="cannot be reached, or went away"),
            store.transaction() as connection,
        ):
            connection.execute(text("SELECT 1"))
            with other.transaction(write=True) as killer:
                killer.execute(cut)
            connection.execute(text("SELECT 1"))
        assert store.list_jobs() == []
