"""Transactions, and the few statements from which all of the store is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, Engine, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from trimtab.db._codec import decode, encode, encode_changes, field_names
from trimtab.db._engine import Location, translate
from trimtab.db._seal import SEAL, check, damaged, reseal, seal
from trimtab.db.artefacts import ArtefactStore
from trimtab.db.schema import Base, Sealed
from trimtab_runtime.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


class StoreBase:
    """An open database. Threads may share it; processes open their own."""

    def __init__(
        self,
        engine: Engine,
        location: Location,
        artefacts: ArtefactStore | None,
        read_only: bool,
    ) -> None:
        self._engine = engine
        self._location = location
        self._artefacts = artefacts
        self.read_only = read_only
        self._writing = engine.execution_options(trimtab_write=True)
        self._reading = (
            engine
            if location.file
            else engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        )

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any error.

        A reading one sees a single state of the store throughout. What the database objects to
        is raised as StoreError.
        """
        if write and self.read_only:
            raise StoreError(f"store {self._location} is open for reading only")
        try:
            with (self._writing if write else self._reading).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise translate(error, self._location) from error


def let_go(error: BaseException) -> None:
    """End the transactions that an interrupt broke off just before they would have ended.

    The traceback of `error` keeps them, and their locks, until nothing refers to it any more.
    """
    clear_frames(error.__traceback__)


def find(
    connection: Connection,
    kind: type[R],
    row: type[Base],
    *where: ColumnElement[bool],
    order_by: Sequence[Any] = (),
    limit: int | None = None,
) -> list[R]:
    """The records of `kind` that fulfil every condition. Raises StoreError for a row that is not
    what was written."""
    names = field_names(kind)
    columns = [getattr(row, name) for name in names]
    if issubclass(row, Sealed):
        columns.append(row.checksum)
    statement = select(*columns).where(*where).order_by(*order_by).limit(limit)
    try:
        rows = connection.execute(statement).all()
    except (ValueError, TypeError, RecursionError) as error:  # no JSON, time or truth any more
        raise damaged(kind, str(error)) from error
    if issubclass(row, Sealed):
        for found in rows:
            check(row, kind, names, found[:-1], found[-1])
        return [decode(kind, found[:-1]) for found in rows]
    return [decode(kind, found) for found in rows]


def sealed(row: type[Base], record: DataclassInstance) -> dict[str, Any]:
    """Column values of a record, with their checksum where the row has one."""
    values = encode(record)
    if issubclass(row, Sealed):
        values[SEAL] = seal(row.__tablename__, values.values())
    return values


def change(
    connection: Connection,
    kind: type[DataclassInstance],
    row: type[Base],
    changes: dict[str, Any],
    *where: ColumnElement[bool],
) -> None:
    """Change fields of the records that fulfil every condition."""
    if changes:
        reseal(connection, row, kind, field_names(kind), encode_changes(kind, changes), where)


def find_one(
    connection: Connection, kind: type[R], row: type[Base], *where: ColumnElement[bool]
) -> R | None:
    found = find(connection, kind, row, *where, limit=1)
    return found[0] if found else None


def matching(row: type[Base], **wanted: str | None) -> list[ColumnElement[bool]]:
    """A condition for every column that is wanted to be something."""
    return [getattr(row, name) == value for name, value in wanted.items() if value is not None]


def put(
    connection: Connection,
    row: type[Base],
    records: Sequence[DataclassInstance],
    *,
    over: ColumnElement[bool] | None = None,
) -> None:
    """Insert; where the primary key is taken, replace, if `over` is None or holds there."""
    if not records:
        return
    table = cast(Table, row.__table__)
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table)
    changed = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if not column.primary_key
    }
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_=changed, where=over
        ),
        [sealed(row, record) for record in records],
    )
