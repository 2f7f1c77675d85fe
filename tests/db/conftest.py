"""Stores to test on: a fresh SQLite file, and a fresh database of a PostgreSQL started here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres_server import Postgres, running_postgres

from trimtab.db import Store

ROOT = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test session alone."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """A database without tables, and without connections that an earlier test left."""
    return postgres.emptied()


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
