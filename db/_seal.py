"""The checksum of a row: a bit that a disk or a copy lost must not become another figure.

It guards against accidents, not against forgery. Rows from before it have none, and are believed.
It covers all fields of a record: a migration that adds one must set the checksums of rows that
were there to NULL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any
from zlib import crc32

from sqlalchemy import ColumnElement, Connection, and_, select, update

from trimtab.db.schema import Base
from trimtab_runtime.errors import StoreError

SEAL = "checksum"


def seal(table: str, values: Iterable[Any]) -> str:
    """Of the values of a record, in the order of its fields."""
    text = _ENCODER.encode([table, *values])
    return f"{crc32(text.encode()):08x}"


def check(
    row: type[Base], kind: type, names: Sequence[str], values: Sequence[Any], was: Any
) -> None:
    """Raises StoreError where the row is not what was written; `was` is its checksum."""
    if was is None or seal(row.__tablename__, values) == was:
        return
    if all(seal(row.__tablename__, other) != was for other in _other_signs(values)):
        told = dict(zip(names, values, strict=True))
        where = ", ".join(f"{c.name} {told.get(c.name)!r}" for c in row.__table__.primary_key)
        raise damaged(kind, where)


def _other_signs(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """The same with zeros below zero, which SQLite gives back without their sign: earlier versions
    sealed them as they were."""
    signs = [
        (value, -value) if type(value) is float and not value else (value,) for value in values
    ]
    return product(*signs)


def damaged(kind: type, which: str) -> StoreError:
    """What to tell of a record that cannot be read, or is another."""
    return StoreError(
        f"a {kind.__name__} ({which}) is not what was written: the database was damaged; "
        "restore it from a copy, or remove it and run the job again"
    )


def reseal(
    connection: Connection,
    row: type[Base],
    kind: type,
    names: Sequence[str],
    changed: Mapping[str, Any],
    where: Sequence[ColumnElement[bool]],
) -> int:
    """Change columns of the rows that fulfil every condition, and their checksums with them; how
    many there were. Raises StoreError for a row that is not what was written: a new checksum would
    hide it."""
    keys = [column.name for column in row.__table__.primary_key]
    columns = [getattr(row, name) for name in (*names, SEAL)]
    found = connection.execute(select(*columns).where(*where).with_for_update()).all()
    for *values, was in found:
        check(row, kind, names, values, was)
        told = {**dict(zip(names, values, strict=True)), **changed}
        own = and_(*(getattr(row, key) == told[key] for key in keys))
        sealed = seal(row.__tablename__, (told[name] for name in names))
        connection.execute(update(row).where(own).values({**changed, SEAL: sealed}))
    return len(found)


def _time(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.astimezone(UTC).isoformat()


#: One for all: a front has tens of thousands of rows.
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_time)
