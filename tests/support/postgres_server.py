"""A real PostgreSQL for tests, started by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from processes import PATIENCE_S, free_port


@dataclass(frozen=True)
class Postgres:
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def emptied(self) -> str:
        """The URL of a database, now without tables and without connections of an earlier test."""
        url = self.url("postgres")
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                f"SELECT pg_terminate_backend(pid, {1000 * PATIENCE_S}) "
                f"FROM pg_stat_activity WHERE {others}"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return url


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server on a free port of the loopback; skips where PostgreSQL is not installed."""
    missing = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL is not installed: no {' and '.join(missing)} on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="trimtab-pg-", dir="/tmp"))
    data = folder / "data"
    port = free_port()
    settings = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        _as_user("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        _as_user(
            "pg_ctl",
            "-D",
            data,
            "-l",
            folder / "log",
            "-o",
            settings,
            "-w",
            "-t",
            str(PATIENCE_S),
            "start",
        )
        try:
            yield Postgres(port)
        finally:
            _as_user("pg_ctl", "-D", data, "-m", "immediate", "-w", "-t", str(PATIENCE_S), "stop")
    finally:
        shutil.rmtree(folder)


def _as_user(*command: str | Path) -> None:
    """PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    subprocess.run(
        [*prefix, *command],
        cwd="/",
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
