"""Stores whose pages or cells are damaged, or were written by another version."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.hostile.cases import Attempt, Case, Harmed
from trimtab.db import (
    CorrectionRecord,
    DeviceRecord,
    EventRecord,
    JobRecord,
    MeasurementRecord,
    PlanMetricRecord,
    PlanRecord,
    Store,
    VariantRecord,
    VerificationRecord,
)
from trimtab.planner.jobs.stored_plans import plan_definition, plan_points, plan_variants
from trimtab_runtime.errors import StoreError

_UNSOUND, _ALTERED = "is no sound database", "is not what was written: the database was damaged"
_NOWHERE = "rows refer to others that are not there"
_AT = datetime(2026, 3, 1, tzinfo=UTC)
_BITS, _PAGES, _CUTS = 40, 12, 4
_COLUMNS = {
    "trimtab_measurement": ("samples", "values", "settings", "device_key", "created_at"),
    "trimtab_plan_metric": ("value", "low", "high", "metric", "basis"),
    "trimtab_verification": ("values", "samples", "state"),
    "trimtab_plan": ("definition", "is_chosen", "feasible", "label"),
    "trimtab_job": ("spec", "summary", "state"),
    "trimtab_device": ("fingerprint", "address"),
}
_FOREIGN: dict[str, Any] = {
    "unknown-field": {"plan": {"structure": {}, "later": 1}, "stages": []},
    "no-plan": {"stages": []},
    "no-stages": {"plan": {}},
    "stage-without-variant": {"plan": {}, "stages": [{"later": 1}]},
    "points-of-later": {"plan": {}, "stages": [], "points": [{"later": 1}]},
    "texts": {"plan": "x", "stages": "x", "points": "x"},
    "numbers": {"plan": 3, "stages": [3], "points": [3]},
}


def cases(seed: int) -> Iterator[Case]:
    """Bits of the file, whole pages, its length; cells; plans of other versions; other files."""
    for number in range(_BITS):
        yield Case(f"bit-{number:02}", _bits, f"{_UNSOUND}|{_ALTERED}|{_NOWHERE}", either=True)
    for number in range(_PAGES):  # some hold nothing that is read
        yield Case(f"page-{number:02}", _page(number), _UNSOUND, either=True)
    for number in range(_CUTS):
        yield Case(f"cut-{number}", _cut(number), _UNSOUND)
    for table, columns in _COLUMNS.items():
        for column in columns:
            refused = _NOWHERE if column == "device_key" else _ALTERED
            yield Case(f"cell-{table}-{column}", _cell(table, column), refused)
    for name, definition in _FOREIGN.items():
        yield Case(f"plan-{name}", _foreign(definition))
    yield Case("no-store", _content(b"no store at all" * 1000), _UNSOUND)
    yield Case("empty", _content(b""))
    yield Case("another-database", _another, "table trimtab_job already exists")


def _filled(folder: Path) -> Path:
    path = folder / "trimtab.db"
    with Store.open(path) as store:
        store.put_device(DeviceRecord("dev", "local", {"cpu": "x"}))
        store.put_variant(VariantRecord("var", "lite0", "lite0", "onnx", None, None, {}, {}))
        times = {"a_ms": [n / 8 for n in range(400)]}
        values = {"a_ms": 1.5}
        store.put_measurement(
            MeasurementRecord("m", "dev", "var", {}, {"s": 1}, values, times, created_at=_AT)
        )
        store.add_job(JobRecord("j", "job", {"n": 1}, "aa", started_at=_AT))
        plans = [PlanRecord("j", f"p{n}", f"plan {n}", {"stages": []}) for n in range(20)]
        figures = [
            PlanMetricRecord("j", plan.key, metric, "test", "replayed", 0.75, 0.5, 0.875)
            for plan in plans
            for metric in ("top1", "latency_mean_ms")
        ]
        store.replace_plans("j", plans, figures)
        store.put_verification(
            VerificationRecord("j", "p0", None, {"b": 2.0}, times, created_at=_AT)
        )
        store.put_corrections(
            [CorrectionRecord("j", "top1", "dev", {"c": 1.0}, 3, 0.5, 0.25, created_at=_AT)]
        )
        store.add_event(EventRecord("j", _AT, "info", "x", "text"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    return path


def _read(path: Path) -> Any:
    """All that a store says. Raises StoreError."""
    with Store.open(path) as store:
        return (
            store.list_devices(),
            store.list_variants(),
            store.list_measurements(),
            store.list_jobs(),
            store.list_plans("j"),
            store.list_verifications("j"),
            store.list_corrections(),
            store.list_events("j"),
        )


def _differs(before: Any, path: Path) -> None:
    """Raises Harmed where the store says something else, and StoreError where it says so."""
    if _read(path) != before:
        raise Harmed("it says something else, in silence")


def _bits(attempt: Attempt) -> None:
    """One bit, anywhere in the pages."""
    path = _filled(attempt.folder)
    before, content = _read(path), bytearray(path.read_bytes())
    place = int(attempt.rng.integers(100, len(content)))
    content[place] ^= 1 << int(attempt.rng.integers(8))
    path.write_bytes(bytes(content))
    _differs(before, path)


def _page(number: int) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        path = _filled(attempt.folder)
        before, content = _read(path), path.read_bytes()
        start = 4096 * (number * (len(content) // 4096) // _PAGES)
        path.write_bytes(content[:start] + attempt.rng.bytes(4096) + content[start + 4096 :])
        _differs(before, path)

    return run


def _cut(number: int) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        path = _filled(attempt.folder)
        before, content = _read(path), path.read_bytes()
        path.write_bytes(content[: (number + 1) * len(content) // (_CUTS + 1) + 7])
        _differs(before, path)

    return run


def _cell(table: str, column: str) -> Callable[[Attempt], None]:
    """A cell that is still valid, and another."""

    def run(attempt: Attempt) -> None:
        path = _filled(attempt.folder)
        before = _read(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            said = f'SELECT rowid, "{column}" FROM {table} LIMIT 1'
            row, was = connection.execute(said).fetchone()
            other = was + 1 if isinstance(was, int | float) else _other(str(was))
            changed = f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?'
            connection.execute(changed, (other, row))
            connection.commit()
        _differs(before, path)

    return run


def _other(text: str) -> str:
    """A text with one of its figures or letters changed."""
    for old, new in (("5", "6"), ("1", "3"), ("a", "b"), ("e", "f"), ("x", "y"), ("2", "4")):
        if old in text:
            return text.replace(old, new, 1)
    return '{"n": 1}' if text == "{}" else text + "x"


def _foreign(definition: Any) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        plan = PlanRecord("j", "p" * 64, "plan", json.loads(json.dumps(definition)))
        refused = 0
        for read in (plan_definition, plan_variants, plan_points):
            try:
                read(plan)
            except StoreError:
                refused += 1
        if not refused:
            raise Harmed("all of it was taken")

    return run


def _content(content: bytes) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        path = attempt.folder / "trimtab.db"
        path.write_bytes(content)
        with Store.open(path) as store:
            store.list_jobs()

    return run


def _another(attempt: Attempt) -> None:
    path = attempt.folder / "trimtab.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE trimtab_job (id INTEGER)")
        connection.commit()
    with Store.open(path) as store:
        store.list_jobs()
