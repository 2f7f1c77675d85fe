"""Where a store lies, how it is connected to, and what its engine's errors mean."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from trimtab_runtime.errors import StoreError

_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_CONNECT_TIMEOUT_S = 15


@dataclass(frozen=True)
class Location:
    """A database: its URL, and the file when it is SQLite's."""

    url: URL
    file: Path | None

    @staticmethod
    def parse(url_or_path: str | Path) -> Location:
        """Understands a path, `sqlite:///PATH` and `postgresql://...`; else StoreError."""
        if isinstance(url_or_path, Path) or "://" not in url_or_path:
            return _sqlite(str(url_or_path))
        try:
            url = make_url(url_or_path)
        except (ArgumentError, ValueError):
            # Not `from error`, nor what it is: both may hold a password.
            raise StoreError(
                "not a database URL: it must have the form postgresql://user@host:port/database, "
                "with an odd character of a password written as %XX"
            ) from None
        if url.drivername in ("sqlite", "sqlite+pysqlite"):
            return _sqlite(url.database or "")
        if url.drivername in _POSTGRESQL:
            return Location(url.set(drivername="postgresql+psycopg"), None)
        raise StoreError(
            f"a store is a SQLite file or a postgresql:// URL, got {url.drivername}://..."
        )

    def __str__(self) -> str:
        if self.file:
            return str(self.file)
        query = {name: _hidden(name, value) for name, value in self.url.query.items()}
        return self.url.set(query=query).render_as_string(hide_password=True)


def shown(store: str) -> str:
    """Where a store lies, as it may be told to anybody: without a password."""
    if "://" not in store:
        return store
    try:
        location = Location.parse(store)
        secret = location.url.password or any("password" in n.lower() for n in location.url.query)
        return str(location) if secret else store
    except StoreError:
        return store.partition("://")[0] + "://***"


def _hidden(name: str, value: Any) -> Any:
    """A parameter of a URL; libpq takes passwords there too."""
    return "***" if "password" in name.lower() else value


def _sqlite(path: str) -> Location:
    if not path or path.startswith((":memory:", "file:")):
        raise StoreError(f"a store needs a file that several processes can open, got {path!r}")
    file = Path(path).expanduser().absolute()
    return Location(URL.create("sqlite", database=str(file)), file)


def connect(location: Location, *, read_only: bool, busy_timeout_s: float) -> Engine:
    """An engine whose transactions are real on SQLite too, DDL included.

    A transaction begun with the execution option `trimtab_write` takes SQLite's write lock at
    once, so that it never fails half way. The caller disposes of the engine.
    """
    if location.file is None:
        engine = create_engine(
            location.url,
            json_serializer=_dumps,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_TIMEOUT_S},
        )
        event.listen(engine, "connect", _PostgresSettings(busy_timeout_s))
        return engine
    engine = create_engine(
        # No mode=ro: such a connection leaves -wal and -shm files behind; query_only does not.
        URL.create(
            "sqlite",
            database=location.file.as_uri(),
            query={"mode": "rw" if read_only else "rwc", "uri": "true"},
        ),
        json_serializer=_dumps,
        connect_args={"timeout": busy_timeout_s},
    )
    event.listen(engine, "connect", _SqliteSettings(read_only))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


class _SqliteSettings:
    def __init__(self, read_only: bool) -> None:
        self.read_only = read_only

    def __call__(self, connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        if self.read_only:
            connection.execute("PRAGMA query_only = ON")


class _PostgresSettings:
    def __init__(self, busy_timeout_s: float) -> None:
        self.busy_timeout_ms = int(busy_timeout_s * 1000)

    def __call__(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        connection.execute(f"SET lock_timeout = {self.busy_timeout_ms}")
        connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("trimtab_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


_LOCKED = "is locked by another process; let it finish, or stop it, and try again"
_FULL = "cannot grow: the disk is full; free some space and run again, finished steps are kept"
_DAMAGED = "is no sound database; restore it from a copy, or name another file"
_READ_ONLY = "cannot be written: it is read-only"
_UNOPENED = "cannot be opened; does its folder exist, and may this user write there?"
_UNREACHED = "cannot be reached, or went away; check its address, and that it is running"
_MISSING = "refused a record that refers to one it does not hold"
_TAKEN = "already holds a record with this key"

_SQLITE_MEANINGS = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,  # no room for the index of the WAL, as when opening
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _UNOPENED,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: _MISSING,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: _TAKEN,
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: _TAKEN,
}
_POSTGRESQL_MEANINGS = {
    "53100": _FULL,
    "55P03": _LOCKED,
    "40P01": _LOCKED,
    "25006": _READ_ONLY,
    "23503": _MISSING,
    "23505": _TAKEN,
    "57P01": _UNREACHED,
    "57P03": _UNREACHED,
}


def translate(error: SQLAlchemyError | sqlite3.Error, location: Location) -> StoreError:
    """The same failure, said so that a user can act on it."""
    original = (error.orig if isinstance(error, DBAPIError) else None) or error
    code = getattr(original, "sqlite_errorcode", None)
    state = getattr(original, "sqlstate", None)
    if code is not None:
        meaning = _SQLITE_MEANINGS.get(code) or _SQLITE_MEANINGS.get(code & 0xFF)
    elif state is not None:
        meaning = _POSTGRESQL_MEANINGS.get(state)
    else:
        lost = location.file is None and type(original).__name__ == "OperationalError"
        meaning = _UNREACHED if lost else None
    said = str(original).strip().partition("\n")[0]
    return StoreError(f"store {location} {meaning or 'failed'} ({said})")
