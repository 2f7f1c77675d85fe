"""Stores to test on: a fresh SQLite file, and a fresh database of a PostgreSQL started here."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from trimtab.db import Store

ROOT = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Postgres:
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test session alone, on a free port of the loopback."""
    missing = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL is not installed: no {' and '.join(missing)} on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="trimtab-pg-", dir="/tmp"))
    data = folder / "data"
    port = _free_port()
    settings = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        _as_user("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        _as_user("pg_ctl", "-D", data, "-l", folder / "log", "-o", settings, "-w", "start")
        try:
            yield Postgres(port)
        finally:
            _as_user("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """A database without tables, and without connections that an earlier test left."""
    url = postgres.url("postgres")
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}"
        )
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be made; nothing is there yet."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def reopen(place: str, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Opens the store at `place`, again and again; closes all at the end."""
    stores: list[Store] = []

    def open_one(**options: object) -> Store:
        stores.append(Store.open(place, artefacts=tmp_path / "artefacts", **options))  # type: ignore[arg-type]
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(reopen: Callable[..., Store]) -> Store:
    return reopen()


@dataclass(frozen=True)
class SmallDisk:
    """A real file system of a few MB."""

    folder: Path

    def fill(self) -> Path:
        """Take all that is free, with one file; remove it to free that again."""
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass
        return filler


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """A tmpfs of 4 MB; skips where this user may not mount one (root may)."""
    folder = Path(tempfile.mkdtemp(prefix="trimtab-disk-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no small disk to fill, mount refuses: {done.stderr.strip()}")
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        folder.rmdir()


class Second:
    """Another process, that speaks by lines."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def say(self, line: str = "") -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self, *, reap: bool = True) -> None:
        """SIGKILL: nothing that the process meant to do at its end is done."""
        self.process.send_signal(signal.SIGKILL)
        if reap:
            self.process.wait()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def second() -> Iterator[Callable[..., Second]]:
    """Starts other processes; none outlives the test."""
    started: list[Second] = []

    def start(script: str, *arguments: str) -> Second:
        started.append(Second(script, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.end()
