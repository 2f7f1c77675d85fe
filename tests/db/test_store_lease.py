"""One holder at a time, and none after its death; over both engines, with real processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from trimtab.db import Store, utc_now
from trimtab.db.schema import LeaseRow
from trimtab_runtime.errors import StoreError

HOLD = """
import sys; from trimtab.db import Store; from trimtab_runtime.errors import StoreError
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True); input()
    try:
        with store.lease("dev", holder=sys.argv[2]):
            print("holds", flush=True); input()
    except StoreError as error:
        print(error, flush=True); input()
print("left", flush=True)
"""


def holding(second: Callable[..., Any], place: str) -> Any:
    process = second(HOLD, place, "job-7")
    assert process.hear() == "ready"
    process.say()
    assert process.hear() == "holds"
    return process


def alter(store: Store, **values: object) -> None:
    with store.transaction(write=True) as connection:
        connection.execute(update(LeaseRow).values(values))


def test_a_lease_is_held_and_given_back(store: Store) -> None:
    with store.lease("dev", holder="job-1") as lease:
        lease.refresh()
        held = store.lease_holder("dev")
        assert held is not None
        assert (held.holder, held.pid) == ("job-1", os.getpid())
        with store.lease("other", holder="job-1"):
            pass
    assert store.lease_holder("dev") is None
    with store.lease("dev", holder="job-2"):
        pass


def rename(store: Store, old: str, new: str) -> None:
    with store.transaction(write=True) as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def test_a_lease_that_could_not_be_removed_stops_nobody_here(store: Store) -> None:
    """As on a full disk: the row stays, but this process knows that it is over."""
    with pytest.raises(StoreError), store.lease("dev", holder="job-1"):
        rename(store, "trimtab_lease", "away")
    rename(store, "away", "trimtab_lease")
    assert store.lease_holder("dev") is None
    with store.lease("dev", holder="job-2"):
        pass


def test_a_lease_is_given_back_after_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lease("dev", holder="job-1"):
        raise ZeroDivisionError
    assert store.lease_holder("dev") is None


def test_a_second_job_of_the_same_process_is_refused(store: Store) -> None:
    with (
        store.lease("dev", holder="job-1"),
        pytest.raises(StoreError, match="measured by 'job-1'"),
        store.lease("dev", holder="job-2"),
    ):
        pytest.fail("two leases on one device")


def test_another_process_is_named_until_it_leaves(
    store: Store, place: str, second: Callable[..., Any]
) -> None:
    other = holding(second, place)
    said = rf"'job-7' \(process {other.process.pid} on .*wait until it is done, or stop"
    with pytest.raises(StoreError, match=said), store.lease("dev", holder="job-1"):
        pytest.fail("two leases on one device")

    other.say()
    assert other.hear() == "left"
    with store.lease("dev", holder="job-1"):
        pass


@pytest.mark.parametrize("reap", [True, False], ids=["gone", "zombie"])
def test_a_killed_holder_holds_nothing(
    store: Store, place: str, second: Callable[..., Any], reap: bool
) -> None:
    other = holding(second, place)
    assert store.lease_holder("dev") is not None
    other.kill(reap=reap)
    if not reap:
        os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)

    assert store.lease_holder("dev") is None
    with store.lease("dev", holder="job-1"):
        held = store.lease_holder("dev")
        assert held is not None
        assert held.holder == "job-1"


def test_a_process_that_got_the_pid_of_a_dead_one_holds_nothing(store: Store) -> None:
    with store.lease("dev", holder="job-1"):
        alter(store, birth="some other process")
        assert store.lease_holder("dev") is None
        with store.lease("dev", holder="job-2"):
            pass


def test_another_host_is_believed_until_its_lease_ends(store: Store) -> None:
    with store.lease("dev", holder="far", lasts_s=1000) as far:
        alter(store, host="elsewhere", host_id="elsewhere", pid=1, birth="")
        with (
            pytest.raises(StoreError, match=r"on elsewhere.*its lease ends at"),
            store.lease("dev", holder="near"),
        ):
            pytest.fail("two leases on one device")

        alter(store, expires_at=utc_now() - timedelta(seconds=1))
        assert store.lease_holder("dev") is None
        far.refresh()
        assert store.lease_holder("dev") is not None

        alter(store, expires_at=utc_now() - timedelta(seconds=1))
        with store.lease("dev", holder="near"):
            with pytest.raises(StoreError, match="has passed to another"):
                far.refresh()
            held = store.lease_holder("dev")
            assert held is not None
            assert held.holder == "near"


def test_a_holder_that_lost_its_lease_does_not_end_the_next(store: Store) -> None:
    first = store.lease("dev", holder="far")
    first.__enter__()
    alter(store, host_id="elsewhere", expires_at=utc_now() - timedelta(seconds=1))
    with store.lease("dev", holder="near"):
        first.__exit__(None, None, None)
        assert store.lease_holder("dev") is not None


@pytest.mark.parametrize("dead_before", [False, True], ids=["free", "after a dead one"])
def test_of_many_that_come_at_once_one_gets_it(
    store: Store, place: str, second: Callable[..., Any], dead_before: bool
) -> None:
    if dead_before:
        holding(second, place).kill()
    racers = [second(HOLD, place, f"job-{number}") for number in range(4)]
    assert [racer.hear() for racer in racers] == ["ready"] * 4
    for racer in racers:
        racer.say()

    heard = [racer.hear() for racer in racers]
    assert heard.count("holds") == 1
    assert sum("is being measured by" in line for line in heard) == 3


def test_reading_only_takes_no_lease(store: Store, reopen: Callable[..., Store]) -> None:
    reader = reopen(read_only=True)
    with (
        pytest.raises(StoreError, match="open for reading only"),
        reader.lease("dev", holder="job-1"),
    ):
        pytest.fail("a lease without writing")
    assert reader.lease_holder("dev") is None
