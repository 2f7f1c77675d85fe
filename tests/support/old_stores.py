"""Stores that released code made (planner/fixtures/make.py), put where a test may use them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from killing import SETTINGS
from scipy.special import log_softmax

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.lifecycle import job_id_of
from trimtab.planner.pipeline.job import plan
from trimtab.planner.specification.job import load_spec
from trimtab.profilers import LocalDevice, ProbeResult, RecordedDevice
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.probe.requests import PairedRequest, kind_of


def arithmetic() -> str:
    """sha256 of some figures to their last bit: processors and numerical libraries that round
    alike have the same. Where they do not, what is fitted anew differs, and so do its keys."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((200, 96)).astype(np.float32)
    y = generator.standard_normal((96, 4)).astype(np.float32)
    wide = x.astype(np.float64)
    found = [
        x @ y,
        np.linalg.norm(x, axis=1),
        x.mean(0, dtype=np.float32),
        log_softmax(x @ y, axis=1),
        np.exp(wide),
        wide.std(0),
        np.linalg.solve(wide.T @ wide + np.eye(96), y.astype(np.float64)),
        np.linalg.svd(wide)[1],
    ]
    return hashlib.sha256(b"".join(array.tobytes() for array in found)).hexdigest()


class WatchedDevice(RecordedDevice):
    """A recorded device that keeps its requests, by kind. A disturbed measurement is asked again.

    Bundles hold the code of today, so no recording knows them: they run on this machine.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._here = LocalDevice()
        self.asked: dict[str, set[str]] = {}
        self.unknown: list[str] = []

    def put(self, path: Path) -> str:
        return self._here.put(path)

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        self.asked.setdefault(kind_of(request), set()).add(repr(request))
        if how.get("bundle") is not None or isinstance(request, PairedRequest):
            return self._here.probe(request, **how)
        try:
            return super().probe(request, **how)
        except DeviceError as error:
            if "holds no answer" in str(error):
                self.unknown.append(str(error))
            raise

    def count(self, *kinds: str) -> int:
        return sum(len(self.asked.get(kind, ())) for kind in kinds)


@dataclass(frozen=True)
class OldStore:
    """A store at `place` (a file or a URL); its files, and the jobs' specifications and inputs,
    are in `folder`. `made` tells how, `jobs` are the ids of the jobs by their names."""

    folder: Path
    place: str
    made: dict[str, Any]
    jobs: dict[str, str]

    @property
    def artefacts(self) -> Path:
        return self.folder / "artefacts"

    def open(self, *, read_only: bool = False) -> Store:
        return Store.open(self.place, artefacts=self.artefacts, read_only=read_only)

    def resume(self, store: Store, name: str) -> tuple[JobRecord, WatchedDevice]:
        """Run the job that is called so, again, on its recorded device."""
        device = WatchedDevice(self.folder / "device.jsonl")
        return plan(
            self.folder / f"{name}.yaml", store, settings=SETTINGS, device=device, setup="ignored"
        ), device


def restore(archive: Path, folder: Path, place: str) -> OldStore:
    """Unpack into an empty `folder`, and load the database into an empty `place`.

    Specifications name their files by absolute paths, which a job's id is made of: a folder that
    has moved makes another job of the same specification. So the folder's old path becomes the
    new one in all rows, and jobs get the ids that they would have had there.
    """
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    rows = (folder / "sqlite.sql").read_text(encoding="utf-8")
    changes, jobs = {made["folder"]: str(folder)}, {}
    for name, old, spec_sha256, device_key, workload_key in _jobs(rows):
        spec = load_spec(folder / f"{name}.yaml")
        jobs[name] = changes[old] = job_id_of(spec, device_key, workload_key)
        changes[spec_sha256] = content_key(spec.model_dump(mode="json"))
    engine = "postgresql" if "://" in place else "sqlite"
    script = (folder / f"{engine}.sql").read_text(encoding="utf-8")
    for old, new in changes.items():
        script = script.replace(old, new)
    if engine == "sqlite":
        with closing(sqlite3.connect(place)) as connection:
            connection.executescript(script)
    else:
        with psycopg.connect(place, autocommit=True) as server:
            server.execute(script.encode())
    return OldStore(folder, place, made, jobs)


def _jobs(rows: str) -> list[tuple[str, str, str, str, str]]:
    columns = "name, id, spec_sha256, device_key, workload_key"
    return _asked(rows, f"SELECT {columns} FROM trimtab_job")


def old_specs(archive: Path) -> list[tuple[str, dict[str, Any], str, str]]:
    """Of every job, as it was kept: id, specification, keys of device and workload."""
    with tarfile.open(archive) as packed:
        member = packed.extractfile("sqlite.sql")
        assert member is not None
        rows = member.read().decode()
    found = _asked(rows, "SELECT id, spec, device_key, workload_key FROM trimtab_job")
    return [(job, json.loads(spec), device, work) for job, spec, device, work in found]


def _asked(rows: str, question: str) -> list[Any]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(rows)
        return connection.execute(question).fetchall()
