"""Jobs that are killed at any moment, run again until they are done, and compared with one that
was left alone. The device answers from a recording, so that all runs meet the same figures."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from sample_models import INPUT, texture_images, write_onnx

from trimtab.db import Store
from trimtab.planner.pipeline.job import plan
from trimtab.profilers import (
    InProcessDevice,
    ProbeResult,
    RecordedDevice,
    RecordOrReplayDevice,
    SteadyDevice,
)
from trimtab_runtime.probe.requests import MeasureSettings

SETTINGS = MeasureSettings(seconds=0.0, max_seconds=5.0, min_rounds=8, warmup_seconds=0.0)
#: Which records a probe's answer goes into.
_RECORDS = {"measure": "measurement", "trace": "trace", "verify": "verification"}
#: Nobody can still be writing a half-written artefact that is so old.
_OLD_S = 7200.0

_START = multiprocessing.get_context("forkserver")
_START.set_forkserver_preload(
    [
        "pytest",
        "killing",
        "onnx",
        "trimtab.planner.pipeline.job",
        "optuna.storages._rdb.storage",
        "alembic.command",
    ]
)

Committed = dict[tuple[str, ...], Any]


def small_job(folder: Path) -> dict[str, Any]:
    """The specification of a job over two small models and 36 images, which it writes."""
    write_onnx(folder / "small.onnx", width=2)
    write_onnx(folder / "large.onnx", width=16)
    images, labels = texture_images(36, seed=5)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "photos" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return {
        "name": "killed",
        "models": [
            {"path": str(folder / name), "input": INPUT} for name in ("small.onnx", "large.onnx")
        ],
        "workload": {
            "images": str(folder / "photos"),
            "splits": {"fit": 8, "tune": 14, "test": 14},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 4},
        "together": 3,
        "verify": 2,
    }


def committed(store: Store) -> Committed:
    """All evidence of a store, by what it is, with when it was made. (What files tell of
    themselves, and how they were opened, are variants of the formats 'facts' and 'view'.)"""
    found: Committed = {
        ("variant", v.key): v.artefact_sha256
        for v in store.list_variants()
        if v.format not in ("facts", "view")
    }
    found |= {("measurement", m.key): m.created_at for m in store.list_measurements()}
    found |= {("trace", t.key): t.created_at for t in store.list_traces()}
    for job in store.list_jobs():
        for verified in store.list_verifications(job.id):
            found["verification", job.id, verified.plan_key] = verified.created_at
    return found


def outcome(store: Store) -> dict[str, Any]:
    """What a job found, without times and the numbers of trials."""
    (job,) = store.list_jobs()
    summary = {name: value for name, value in job.summary.items() if name != "measuring_s"}
    plans = []
    for entry in store.list_plans(job.id):
        figures = {key: (m.value, m.low, m.high) for key, m in entry.metrics.items()}
        plans.append((entry.plan, figures))
    verified = {
        v.plan_key: (v.state, v.bundle_sha256, v.values, v.samples)
        for v in store.list_verifications(job.id)
    }
    candidates = {
        (c.key, c.role, c.state, c.variant_key, c.reason) for c in store.list_candidates(job.id)
    }
    return {
        "state": job.state,
        "summary": summary,
        "plans": plans,
        "verified": verified,
        "candidates": candidates,
    }


def leftovers(home: Path) -> list[str]:
    """What a job should not leave behind: temporary files, trials that run, a lease."""
    database = home / "store" / "trimtab.db"
    expected = {"trimtab.db", "trimtab.db.lock", "artefacts"}
    found = [str(path) for path in (home / "temp").iterdir()]
    found += [str(path) for path in (home / "cache").iterdir()]
    found += [str(p) for p in database.parent.iterdir() if p.name not in expected]
    found += [str(path) for path in (database.parent / "artefacts").glob(".*.part")]
    scratch = database.parent / "artefacts" / ".scratch"
    found += [str(path) for path in scratch.iterdir() if path.name != "lock"]
    return found + [f"{count} {what}" for what, count in _counts(database).items() if count]


def _counts(database: Path) -> dict[str, int]:
    wanted = {"trials": "trials WHERE state IN ('RUNNING', 'WAITING')", "leases": "trimtab_lease"}
    connection = sqlite3.connect(database)
    try:
        return {
            f"{what} in hand": connection.execute(f"SELECT COUNT(*) FROM {rows}").fetchone()[0]
            for what, rows in wanted.items()
        }
    finally:
        connection.close()


class _Attributing(RecordedDevice):
    """Notes which records of a store each probe led to: those made before the next probe."""

    def __init__(self, recording: Path, log: Path, store: Store) -> None:
        super().__init__(recording, log)
        self.made: dict[str, set[tuple[str, ...]]] = {}
        self._own_log, self._store = log, store
        self._seen: set[tuple[str, ...]] = set()
        self._last: tuple[str, str] | None = None

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        self.attribute()
        try:
            return super().probe(request, **how)
        finally:
            key, kind = probes(self._own_log)[-1]
            self._last = key, kind

    def attribute(self) -> None:
        """Ascribe what is new to the last probe."""
        now = set(committed(self._store))
        if self._last is not None:
            key, kind = self._last
            new = {record for record in now - self._seen if record[0] == _RECORDS.get(kind)}
            self.made.setdefault(key, set()).update(new)
        self._seen = now


def probes(log: Path) -> list[tuple[str, str]]:
    """Key and kind of each probe in the log of a recorded device."""
    if not log.exists():
        return []
    lines = [line.split() for line in log.read_text(encoding="ascii").splitlines()]
    return [(key, kind) for key, kind in lines]


def run_job(spec: Mapping[str, Any], home: Path, recording: Path) -> None:
    """What a child process does: the job, in a home of its own."""
    tempfile.tempdir = None
    os.environ |= {"TMPDIR": str(home / "temp"), "TRIMTAB_CACHE": str(home / "cache")}
    device = RecordedDevice(recording, home / "log")
    with Store.open(home / "store" / "trimtab.db") as store:
        plan(spec, store, settings=SETTINGS, device=device, setup="ignored")


@dataclass
class Tally:
    """What was seen. `problems` are sentences; there should be none."""

    kills: int = 0
    jobs: int = 0
    lost: int = 0
    repeated: int = 0
    unequal: int = 0
    problems: list[str] = field(default_factory=list)


class Killing:
    """Kills jobs at random moments. `folder` takes models, the recording and the stores."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self._folder, self._random = folder, random.Random(seed)
        self._spec = small_job(folder)
        self._recording = folder / "recording.jsonl"
        self._kills, self.tally = 0, Tally()
        home = self._home("recorded")
        with Store.open(home / "store" / "trimtab.db") as store:
            plan(
                self._spec,
                store,
                settings=SETTINGS,
                device=RecordOrReplayDevice(SteadyDevice(InProcessDevice()), self._recording),
                setup="ignored",
            )
        home = self._home("undisturbed")
        with Store.open(home / "store" / "trimtab.db") as store:
            attributing = _Attributing(self._recording, home / "log", store)
            plan(self._spec, store, settings=SETTINGS, device=attributing, setup="ignored")
            attributing.attribute()
            self._expected = outcome(store)
        self._made = attributing.made
        self._lasts_s = self._timed_s()

    def go_on(self, kills: int) -> Tally:
        """Run jobs, each in a store of its own, until so many kills were done in all."""
        self._kills = kills
        while self.tally.kills < kills:
            self.tally.jobs += 1
            home = self._home(f"job-{self.tally.jobs}")
            kept: Committed | None = {}
            while kept is not None:
                kept = self._killed(home, kept)
            known = len(self.tally.problems)
            self._check_end(home)
            if len(self.tally.problems) == known:  # else there is something to look at
                shutil.rmtree(home)
        return self.tally

    def _home(self, name: str) -> Path:
        home = self._folder / name
        for part in ("store", "temp", "cache"):
            (home / part).mkdir(parents=True)
        return home

    def _process(self, home: Path) -> Any:
        process = _START.Process(target=run_job, args=(self._spec, home, self._recording))
        process.start()
        return process

    def _timed_s(self) -> float:
        """How long a job takes that nobody disturbs. The first process starts a server."""
        for name in ("first", "second"):
            began = time.monotonic()
            self._process(self._home(name)).join()
            took_s = time.monotonic() - began
        return took_s

    def _killed(self, home: Path, before: Committed) -> Committed | None:
        """Run a job and kill it; what is committed then, or None if it was done before."""
        probed = len(probes(home / "log"))
        began = time.monotonic()
        process = self._process(home)
        # Seldom so late that a whole job ends before: most need several runs.
        delay_s = self._lasts_s * self._random.random() * self._random.uniform(0.1, 1.3)
        process.join(delay_s if self.tally.kills < self._kills else None)
        if not process.is_alive() and not before:  # a whole job: this machine may be faster now
            self._lasts_s = min(self._lasts_s, time.monotonic() - began)
        process.kill()
        process.join()
        after = self._committed(home)
        lost = [record for record in before if after.get(record) != before[record]]
        again = [
            (key, kind)
            for key, kind in probes(home / "log")[probed:]
            if self._made.get(key) and self._made[key] <= before.keys()
        ]
        self.tally.lost += len(lost)
        self.tally.repeated += len(again)
        self.tally.problems += [f"{home.name}: lost {record}" for record in lost]
        self.tally.problems += [f"{home.name}: probed again {probe}" for probe in again]
        if process.exitcode == 0:
            return None
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{home.name}: a run ended with status {process.exitcode}")
        self.tally.kills += 1
        for left in (home / "store" / "artefacts").glob(".*.part"):
            os.utime(left, (time.time() - _OLD_S,) * 2)
        return after

    def _committed(self, home: Path) -> Committed:
        with Store.open(home / "store" / "trimtab.db") as store:
            return committed(store)

    def _check_end(self, home: Path) -> None:
        with Store.open(home / "store" / "trimtab.db") as store:
            found = outcome(store)
        differing = [name for name in found if found[name] != self._expected[name]]
        self.tally.unequal += bool(differing)
        self.tally.problems += [f"{home.name}: {name} differ" for name in differing]
        self.tally.problems += [f"{home.name}: {left} is left" for left in leftovers(home)]
