"""Files of the artefact store that nothing refers to, and their removal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import JSON, Connection, String, Table, cast, delete, exists, select

from trimtab.db._base import find
from trimtab.db._evidence import EvidenceStore
from trimtab.db.artefacts import StoredFile
from trimtab.db.lease import LeaseStore, living_leases, one_lease_at_a_time
from trimtab.db.records import ArtefactRecord
from trimtab.db.schema import ArtefactRow, Base, EventRow, PlanRow, VerificationRow
from trimtab_runtime.errors import StoreError

#: How old a file that no row knows must be, so that no writer has it in hand.
STRAY_AGE_S = 3600.0
_BATCH = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("values", "samples")
_GONE = ~exists().where(
    PlanRow.job_id == VerificationRow.job_id, PlanRow.key == VerificationRow.plan_key
)


@dataclass(frozen=True)
class Leftover:
    """A file that nothing refers to.

    `kind` and `name` are those of its artefact; 'stray' is the kind of a file that no row knows,
    'partial' of one that was never finished, which has no sha256. `age_s` is None where there
    is a row only.
    """

    kind: str
    name: str
    sha256: str | None
    path: Path
    size_bytes: int
    age_s: float | None


@dataclass(frozen=True)
class Unreferenced:
    """What may go, and the artefacts that are referred to while their file is missing."""

    leftovers: list[Leftover]
    missing: list[ArtefactRecord]


class CollectingStore(EvidenceStore, LeaseStore):
    """What nothing refers to any more.

    An artefact is referred to when its sha256 stands in any row of any table, in a column or
    within JSON; two kinds of rows do not count. Lines of a log only tell. The verification of a
    plan that its job no longer has says nothing without the plan: it goes with its bundle.

    Whoever makes artefacts holds a lease until a row refers to them. So both methods raise
    StoreError while a lease lives, and none begins during a transaction that removes. What other
    databases refer to is not known here: a folder of artefacts belongs to one.
    """

    def unreferenced(self, *, stray_age_s: float = STRAY_AGE_S) -> Unreferenced:
        """What :meth:`remove_unreferenced` would take. Changes nothing.

        Unfinished files, and files that no row knows, are left out until `stray_age_s` old.
        """
        files = self.artefacts.files()
        with self.transaction() as connection:
            _require_idle(connection, self.now(connection))
            order = (ArtefactRow.kind, ArtefactRow.name, ArtefactRow.sha256)
            records = find(connection, ArtefactRecord, ArtefactRow, order_by=order)
            referred = _referred(connection)
        stored = {file.sha256: file for file in files if file.sha256}
        known = {record.sha256 for record in records}
        found = [
            self._leftover(record, stored.get(record.sha256))
            for record in records
            if record.sha256 not in referred
        ]
        strays = [
            Leftover(
                "stray" if file.sha256 else "partial",
                str(file.path.relative_to(self.artefacts.folder)),
                file.sha256,
                file.path,
                file.size_bytes,
                file.age_s,
            )
            for file in files
            if file.sha256 not in known and file.age_s >= stray_age_s
        ]
        missing = [r for r in records if r.sha256 in referred and r.sha256 not in stored]
        return Unreferenced(found + strays, missing)

    def remove_unreferenced(self, leftovers: Sequence[Leftover]) -> list[Leftover]:
        """Remove files with their rows; returns those removed. What came into use meanwhile stays.

        Rows go first. A file goes in a transaction that has made sure that no row knows it: one
        that is left behind when the process dies between them is a stray of the next time.
        """
        removed = []
        for start in range(0, len(leftovers), _BATCH):
            batch = leftovers[start : start + _BATCH]
            shas = [item.sha256 for item in batch if item.sha256]
            with self.transaction(write=True) as connection:
                one_lease_at_a_time(connection)
                _require_idle(connection, self.now(connection))
                _remove_rows(connection, set(shas) - _referred(connection))
            with self.transaction(write=True) as connection:
                one_lease_at_a_time(connection)
                _require_idle(connection, self.now(connection))
                known = set(
                    connection.scalars(
                        select(ArtefactRow.sha256).where(ArtefactRow.sha256.in_(shas))
                    )
                )
                gone = [item for item in batch if item.sha256 not in known]
                for item in gone:
                    self.artefacts.remove(item.path)
            removed += gone
        return removed

    def _leftover(self, record: ArtefactRecord, file: StoredFile | None) -> Leftover:
        return Leftover(
            record.kind,
            record.name,
            record.sha256,
            self.artefacts.place(record.sha256),
            file.size_bytes if file else 0,
            file.age_s if file else None,
        )


def _require_idle(connection: Connection, now: datetime) -> None:
    if living := living_leases(connection, now):
        held = living[0]
        raise StoreError(
            f"{held.holder!r} is running with this store (process {held.pid} on {held.host}), "
            "and what it has just made is not referred to yet: wait until it is done, or stop it"
        )


def _remove_rows(connection: Connection, shas: set[str]) -> None:
    of_bundle = VerificationRow.bundle_sha256.in_(shas)
    connection.execute(delete(VerificationRow).where(of_bundle, _GONE))
    connection.execute(delete(ArtefactRow).where(ArtefactRow.sha256.in_(shas)))


def _referred(connection: Connection) -> set[str]:
    """Everything in the tables that looks like a sha256, so that no reference is forgotten."""
    found: set[str] = set()
    for table in Base.metadata.sorted_tables:
        if table not in (ArtefactRow.__table__, EventRow.__table__):
            for text in _texts(connection, table):
                found.update(_SHA256.findall(text))
    return found


def _texts(connection: Connection, table: Table) -> Iterator[str]:
    """All texts and JSON of a table, figures apart."""
    columns = [
        cast(column, String)
        for column in table.columns
        if isinstance(column.type, String | JSON) and column.name not in _NUMBERS
    ]
    statement = select(*columns)
    if table is VerificationRow.__table__:
        statement = statement.where(~_GONE)
    return (text for row in connection.execute(statement) for text in row if text)
