"""Bringing a database to the tables of this version, once, whoever opens it first.

`migrations/` holds one module per released change. DDL and the record of it share a
transaction on both engines, so that a killed process leaves the version before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, func, select

from trimtab.db._engine import Location
from trimtab_runtime.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "trimtab_version"
_MIGRATION_LOCK = 0x7472_696D_7461_6200


def require_current(engine: Engine, location: Location) -> None:
    """StoreError unless the database has exactly the tables of this version."""
    with engine.begin() as connection:
        found = _version(connection)
    newest = _newest(MIGRATIONS)
    _refuse_unknown(found, location, MIGRATIONS)
    if found is None:
        raise StoreError(f"{location} holds no Trimtab store")
    if found != newest:
        raise StoreError(
            f"store {location} has the tables of version {found}, this Trimtab needs {newest}; "
            "open it once for writing to bring it up to date"
        )


def upgrade(
    engine: Engine, location: Location, lock_timeout_s: float, migrations: Path = MIGRATIONS
) -> None:
    """Create or update the tables. StoreError if a newer version made them.

    Two processes may come at once: one does it, the other waits `lock_timeout_s` seconds at most.
    """
    with _file_lock(location, lock_timeout_s), _migrating(engine, location) as connection:
        if location.file is None:
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        found = _version(connection)
        _refuse_unknown(found, location, migrations)
        if found == _newest(migrations):
            return
        config = Config()
        config.set_main_option("script_location", str(migrations).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _newest(migrations: Path) -> str | None:
    return ScriptDirectory(str(migrations)).get_current_head()


def _refuse_unknown(found: str | None, location: Location, migrations: Path) -> None:
    known = [script.revision for script in ScriptDirectory(str(migrations)).walk_revisions()]
    if found is not None and found not in known:
        raise StoreError(
            f"store {location} was made by a newer Trimtab (tables of version {found}, this one "
            f"knows {known[-1]} to {known[0]}); install that version, or name another store"
        )


@contextmanager
def _file_lock(location: Location, timeout_s: float) -> Iterator[None]:
    if location.file is None:
        yield
        return
    file = location.file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=timeout_s):
            yield
    except Timeout as error:
        raise StoreError(
            f"store {location} is being opened by another process for more than {timeout_s:g} s; "
            "let it finish, or stop it, and try again"
        ) from error
    except OSError as error:
        raise StoreError(f"store {location} cannot be created: {error}") from error


@contextmanager
def _migrating(engine: Engine, location: Location) -> Iterator[Connection]:
    """A writing transaction; on SQLite in WAL mode, references checked at its end.

    Rebuilding a table, as SQLite needs for most changes, would otherwise delete what refers to
    it.
    """
    with engine.connect().execution_options(trimtab_write=True) as connection:
        if location.file is None:
            with connection.begin():
                yield connection
            return
        _pragma(connection, "journal_mode = WAL")
        _pragma(connection, "foreign_keys = OFF")
        try:
            with connection.begin():
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                    raise StoreError(
                        f"store {location}: rows refer to others that are not there "
                        f"({_rows(broken)}): the database was damaged; restore it from a copy"
                    )
        finally:
            _pragma(connection, "foreign_keys = ON")


def _rows(broken: Sequence[Any]) -> str:
    """The first of what SQLite's foreign_key_check tells: table, row, the other table."""
    return ", ".join(f"{table} row {row} to {other}" for table, row, other, *_ in broken[:3])


def _pragma(connection: Connection, text: str) -> None:
    """SQLite changes these outside of transactions only, so past SQLAlchemy, which begins one."""
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {text}")
    cursor.close()
