"""One job at a time measures on a device: an exclusive lease that does not outlive its holder."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import psutil
from sqlalchemy import Connection, delete, func, select, update

from trimtab.db._base import StoreBase, find, find_one, let_go, put
from trimtab.db._codec import encode_changes
from trimtab.db.records import LeaseRecord, utc_now
from trimtab.db.schema import LeaseRow, UtcDateTime
from trimtab_runtime.errors import StoreError

LEASE_LASTS_S = 300.0
_LEASE_LOCK = 0x7472_696D_6C65_6173
#: Leases of this process that are over, even where a full disk kept their rows.
_GIVEN_BACK: set[str] = set()


@dataclass(frozen=True)
class Lease:
    """A lease in hand. Call :meth:`refresh` well within `lasts_s` seconds of the last time."""

    store: LeaseStore
    record: LeaseRecord
    lasts_s: float

    def refresh(self) -> None:
        """Show other hosts that the holder lives. StoreError if the lease was taken over."""
        with self.store.transaction(write=True) as connection:
            until = self.store.now(connection) + timedelta(seconds=self.lasts_s)
            changed = connection.execute(
                update(LeaseRow)
                .where(LeaseRow.token == self.record.token)
                .values(encode_changes(LeaseRecord, {"expires_at": until}))
            )
        if changed.rowcount != 1:
            raise StoreError(
                f"the lease of {self.record.holder!r} on device {self.record.device_key!r} was "
                f"not refreshed for {self.lasts_s:g} s and has passed to another; what was "
                "measured since may be disturbed: run the job again"
            )


class LeaseStore(StoreBase):
    """Who measures where."""

    def now(self, connection: Connection) -> datetime:
        """By the one clock that all hosts share: PostgreSQL's. A SQLite file has one host."""
        if connection.dialect.name == "postgresql":
            return connection.execute(select(func.clock_timestamp(type_=UtcDateTime))).scalar_one()
        return utc_now()

    @contextmanager
    def lease(
        self, device_key: str, *, holder: str, lasts_s: float = LEASE_LASTS_S
    ) -> Iterator[Lease]:
        """Be the only one that measures on a device, for the length of a `with` block.

        `holder` names the job in the message that others get. Raises StoreError while another
        lives: on this host that is known from the process itself, of another host it is
        believed until its lease was not refreshed for the `lasts_s` seconds it asked for.
        """
        record = self._acquire(device_key, holder, lasts_s)
        try:
            yield Lease(self, record, lasts_s)
        except KeyboardInterrupt as error:
            let_go(error)
            raise
        finally:
            _GIVEN_BACK.add(record.token)
            with self.transaction(write=True) as connection:
                connection.execute(delete(LeaseRow).where(LeaseRow.token == record.token))

    def lease_holder(self, device_key: str) -> LeaseRecord | None:
        """Who measures on the device now; a dead holder is none."""
        with self.transaction() as connection:
            held = _held(connection, device_key)
            return held if held and _lives(held, self.now(connection)) else None

    def list_leases(self) -> list[LeaseRecord]:
        """All that are held now; those of dead holders are none."""
        with self.transaction() as connection:
            return living_leases(connection, self.now(connection))

    def _acquire(self, device_key: str, holder: str, lasts_s: float) -> LeaseRecord:
        self._shorten(device_key)
        with self.transaction(write=True) as connection:
            one_lease_at_a_time(connection)
            now = self.now(connection)
            held = _held(connection, device_key)
            if held and _lives(held, now):
                raise StoreError(_refusal(held))
            record = LeaseRecord(
                device_key=device_key,
                holder=holder,
                token=secrets.token_hex(16),
                host=socket.gethostname(),
                host_id=_host_id(),
                pid=os.getpid(),
                birth=process_birth(os.getpid()) or "",
                acquired_at=now,
                expires_at=now + timedelta(seconds=lasts_s),
                lasts_s=lasts_s,
            )
            put(connection, LeaseRow, [record])
            return record

    def _shorten(self, device_key: str) -> None:
        """A lease that ends later than any refreshed now would was written before the clock was
        set back. Its holder may live: let it end as if it had been refreshed now."""
        with self.transaction(write=True) as connection:
            held = _held(connection, device_key)
            if held is None:
                return
            latest = self.now(connection) + timedelta(seconds=held.lasts_s or LEASE_LASTS_S)
            if held.expires_at > latest:
                connection.execute(
                    update(LeaseRow)
                    .where(LeaseRow.token == held.token)
                    .values(encode_changes(LeaseRecord, {"expires_at": latest}))
                )


def one_lease_at_a_time(connection: Connection) -> None:
    """Let no other transaction acquire a lease until this writing one ends.

    SQLite's exclude each other; PostgreSQL's need to be told.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LEASE_LOCK)))


def living_leases(connection: Connection, now: datetime) -> list[LeaseRecord]:
    """All leases whose holders live."""
    order = (LeaseRow.acquired_at, LeaseRow.device_key)
    leases = find(connection, LeaseRecord, LeaseRow, order_by=order)
    return [held for held in leases if _lives(held, now)]


def _held(connection: Connection, device_key: str) -> LeaseRecord | None:
    return find_one(connection, LeaseRecord, LeaseRow, LeaseRow.device_key == device_key)


def _lives(held: LeaseRecord, now: datetime) -> bool:
    if held.token in _GIVEN_BACK:
        return False
    if held.host_id == _host_id():
        return process_birth(held.pid) == held.birth
    return now < held.expires_at


def _refusal(held: LeaseRecord) -> str:
    return (
        f"device {held.device_key!r} is being measured by {held.holder!r} (process {held.pid} on "
        f"{held.host}, since {held.acquired_at:%Y-%m-%d %H:%M:%S} UTC): wait until it is done, or "
        f"stop that process; if {held.host} went away, its lease ends at "
        f"{held.expires_at:%H:%M:%S} UTC"
    )


@cache
def _host_id() -> str:
    """Where a pid means something: this machine, within its pid namespace."""
    machine, namespace = Path("/etc/machine-id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(machine.read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(namespace.readlink()))
    return "/".join(parts)


def process_birth(pid: int) -> str | None:
    """When a living process began, so that a later one with its pid is told apart.

    On Linux in ticks since a named boot, for the time of day may be set while it runs.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if psutil.LINUX:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            return f"{boot}/{ticks}"
        return repr(process.create_time())
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
