"""The store: jobs, lineage, measurements and plans in SQLite or PostgreSQL, files beside."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from trimtab.db import _migrate
from trimtab.db._collecting import CollectingStore
from trimtab.db._engine import Location, connect, translate
from trimtab.db._jobs import JobStore
from trimtab.db._plans import PlanStore
from trimtab.db.artefacts import ArtefactStore
from trimtab_runtime.errors import StoreError


class Store(CollectingStore, JobStore, PlanStore):
    """One database and the artefacts that belong to it.

    Threads may share a store; every process opens its own. Each method is one transaction:
    when it returns, what it wrote is committed; when it raises, nothing was. All raise
    StoreError where the database fails (locked, full, damaged, unreachable).
    """

    @classmethod
    def open(
        cls,
        url_or_path: str | Path,
        artefacts: str | Path | None = None,
        read_only: bool = False,
        busy_timeout_s: float = 30.0,
    ) -> Self:
        """Open a store, and create or migrate it unless `read_only`.

        `url_or_path` is the path of a SQLite file, `sqlite:///PATH` or `postgresql://...`.
        `artefacts` is a folder, by default `artefacts/` beside the SQLite file; PostgreSQL has
        no default. A lock that another process holds is waited for `busy_timeout_s` seconds.
        StoreError if the database cannot be opened, was made by a newer Trimtab, or (when
        `read_only`) does not exist or needs migrating.
        """
        location = Location.parse(url_or_path)
        if read_only and location.file and not location.file.is_file():
            raise StoreError(f"there is no store {location}")
        engine = connect(location, read_only=read_only, busy_timeout_s=busy_timeout_s)
        try:
            if read_only:
                _migrate.require_current(engine, location)
            else:
                _migrate.upgrade(engine, location, busy_timeout_s)
        except (SQLAlchemyError, sqlite3.Error) as error:
            engine.dispose()
            raise translate(error, location) from error
        except BaseException:
            engine.dispose()
            raise
        if artefacts is None and location.file:
            artefacts = location.file.parent / "artefacts"
        files = None if artefacts is None else ArtefactStore(artefacts, read_only=read_only)
        return cls(engine, location, files, read_only)

    @property
    def url(self) -> str:
        """For other libraries that keep their tables in this database; with the password."""
        return self._location.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Give the connections back. Closing twice does no harm."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self._location)!r})"
