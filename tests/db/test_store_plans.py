"""Plan sets, figures, prefixes and verifications; over both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from trimtab.db import (
    CorrectionRecord,
    DeviceRecord,
    JobRecord,
    PlanMetricRecord,
    PlanRecord,
    Store,
    VerificationRecord,
)
from trimtab_runtime.errors import StoreError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def plan(key: str, job_id: str = "j1") -> PlanRecord:
    return PlanRecord(job_id, key, f"plan {key}", {"route": "single"}, reasons=["too slow"])


def metric(plan_key: str, value: float, name: str = "top1", job_id: str = "j1") -> Any:
    return PlanMetricRecord(job_id, plan_key, name, "tune", "replayed", value, 0.1, None)


@pytest.fixture
def jobs(store: Store) -> Store:
    store.add_job(JobRecord("j1", "one", {}, "aa", started_at=AT))
    store.add_job(JobRecord("j2", "two", {}, "aa", started_at=AT + timedelta(hours=1)))
    return store


@contextmanager
def statements() -> Iterator[list[str]]:
    """What goes to any database meanwhile."""
    heard: list[str] = []

    def listen(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        heard.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield heard
    finally:
        event.remove(Engine, "before_cursor_execute", listen)


def test_plans_come_back_with_their_figures_in_the_order_given(jobs: Store) -> None:
    front = replace(plan("b"), on_front=True, is_chosen=True, feasible="yes", reasons=[])
    plans = [front, replace(plan("a"), is_baseline=True, feasible="no")]
    jobs.replace_plans("j1", plans, [metric("a", 0.5), metric("b", 0.75), metric("b", 9, "x_ms")])

    entries = jobs.list_plans("j1")
    assert [entry.plan for entry in entries] == plans
    assert entries[0].metrics == {
        ("top1", "tune", "replayed"): metric("b", 0.75),
        ("x_ms", "tune", "replayed"): metric("b", 9, "x_ms"),
    }
    assert entries[0].value("top1", "tune", "replayed") == 0.75
    assert entries[0].value("top1", "test", "replayed") is None
    assert jobs.get_plan("j1", "a") == entries[1]
    assert jobs.get_plan("j1", "c") is None
    assert jobs.list_plans("j2") == []


def test_a_set_takes_the_place_of_the_one_before(jobs: Store) -> None:
    jobs.replace_plans("j2", [plan("a", "j2")], [metric("a", 0.1, job_id="j2")])
    jobs.replace_plans("j1", [plan("a"), plan("b")], [metric("a", 0.5)])
    jobs.replace_plans("j1", [plan("c"), plan("a")])

    assert [entry.plan.key for entry in jobs.list_plans("j1")] == ["c", "a"]
    assert jobs.list_plans("j1")[1].metrics == {}
    assert jobs.list_plans("j2")[0].value("top1", "tune", "replayed") == 0.1
    jobs.replace_plans("j1", [])
    assert jobs.list_plans("j1") == []


@pytest.mark.parametrize(
    ("plans", "metrics", "said"),
    [
        ([plan("n")], [metric("n", 0.5), metric("other", 0.5)], "does not hold"),
        ([plan("n"), plan("n")], [], "already holds a record with this key"),
        ([plan("n")], [metric("n", float("nan"))], "must be finite"),
        ([plan("n", "j2")], [], "job 'j1' got a record of 'j2'"),
    ],
)
def test_a_set_with_a_fault_leaves_the_one_before(
    jobs: Store, plans: list[PlanRecord], metrics: list[PlanMetricRecord], said: str
) -> None:
    jobs.replace_plans("j1", [plan("a")], [metric("a", 0.5)])
    before = jobs.list_plans("j1")

    with pytest.raises(StoreError, match=said):
        jobs.replace_plans("j1", plans, metrics)
    assert jobs.list_plans("j1") == before


def test_a_reader_sees_one_set_throughout(jobs: Store, reopen: Callable[..., Store]) -> None:
    jobs.replace_plans("j1", [plan("a")], [metric("a", 0.5)])
    other = reopen()
    replaced = False

    def replace_between(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        nonlocal replaced
        if not replaced and "trimtab_plan_metric" in statement:
            replaced = True
            other.replace_plans("j1", [plan("b")], [metric("b", 0.7)])

    event.listen(Engine, "before_cursor_execute", replace_between)
    try:
        seen = jobs.list_plans("j1")
    finally:
        event.remove(Engine, "before_cursor_execute", replace_between)
    assert replaced
    assert [(entry.plan.key, len(entry.metrics)) for entry in seen] == [("a", 1)]
    assert [entry.plan.key for entry in jobs.list_plans("j1")] == ["b"]


def test_thousands_of_plans_take_as_many_queries_as_one(jobs: Store) -> None:
    def write_and_read(size: int) -> tuple[int, int]:
        plans = [plan(f"p{number}") for number in range(size)]
        names = [f"m{number}" for number in range(5)]
        figures = [metric(item.key, 0.5, name) for item in plans for name in names]
        with statements() as writing:
            jobs.replace_plans("j1", plans, figures)
        with statements() as reading:
            entries = jobs.list_plans("j1")
        assert [entry.plan for entry in entries] == plans
        assert sum(len(entry.metrics) for entry in entries) == len(figures)
        return len(writing), len(reading)

    assert write_and_read(1) == write_and_read(5000)


def test_figures_are_added_and_renewed(jobs: Store) -> None:
    jobs.replace_plans("j1", [plan("a")], [metric("a", 0.5)])
    measured = PlanMetricRecord("j1", "a", "latency_mean_ms", "test", "measured", 5.0, 4.0, 6.0)
    jobs.put_plan_metrics([metric("a", 0.6), measured])
    jobs.put_plan_metrics([replace(measured, value=5.5)])

    (entry,) = jobs.list_plans("j1")
    assert entry.value("top1", "tune", "replayed") == 0.6
    assert entry.value("latency_mean_ms", "test", "measured") == 5.5
    with pytest.raises(StoreError, match="does not hold"):
        jobs.put_plan_metrics([metric("none", 1.0)])


def test_a_plan_is_updated_field_by_field(jobs: Store) -> None:
    jobs.replace_plans("j1", [plan("a")])
    changed = jobs.update_plan("j1", "a", is_chosen=True, feasible="yes", reasons=[])

    assert changed == replace(plan("a"), is_chosen=True, feasible="yes", reasons=[])
    assert jobs.list_plans("j1")[0].plan == changed
    with pytest.raises(StoreError, match="job 'j1' has no plan 'b'"):
        jobs.update_plan("j1", "b", label="x")


def test_a_plan_is_found_by_the_beginning_of_its_key(jobs: Store) -> None:
    jobs.replace_plans("j1", [plan("abc1"), plan("abd2"), plan("ab"), plan("x_z")])
    jobs.replace_plans("j2", [plan("abc1", "j2"), plan("abe3", "j2")])

    assert jobs.find_plan("abd") == plan("abd2")
    assert jobs.find_plan("abc") == plan("abc1", "j2")
    assert jobs.find_plan("abc", job_id="j1") == plan("abc1")
    assert jobs.find_plan("ab") == plan("ab")
    assert jobs.find_plan("abe") == plan("abe3", "j2")


def test_an_unclear_beginning_names_the_candidates(jobs: Store) -> None:
    jobs.replace_plans("j1", [plan("abc1"), plan("abd2"), plan("x_z")])
    jobs.replace_plans("j2", [plan(f"q{number:02}", "j2") for number in range(20)])

    with pytest.raises(StoreError, match=r"2 plans in store .* abc1 \(plan abc1\), abd2"):
        jobs.find_plan("ab")
    with pytest.raises(StoreError, match=r"20 plans in job 'j2' .* q07 \(plan q07\) and 12 more"):
        jobs.find_plan("q", job_id="j2")
    with pytest.raises(StoreError, match="no plan in job 'j1' has a key that begins with 'q'"):
        jobs.find_plan("q", job_id="j1")
    for nothing_special in ("%", "_", "x%", "ABC", "q0_"):
        with pytest.raises(StoreError, match="no plan in store"):
            jobs.find_plan(nothing_special)
    with pytest.raises(StoreError, match="got nothing"):
        jobs.find_plan("")


def test_verifications_outlive_the_plan_set_and_keep_success(jobs: Store) -> None:
    jobs.replace_plans("j1", [plan("a")])
    good = VerificationRecord(
        "j1", "a", "cd" * 32, {"latency_mean_ms": 4.5}, {"latency_ms": [4.0, 5.0]}, created_at=AT
    )
    failed = replace(good, bundle_sha256=None, state="failed", reason="timeout", values={})
    again = replace(good, bundle_sha256="ef" * 32, details={"energy": "rapl"})

    assert jobs.put_verification(failed) == failed
    assert jobs.put_verification(good) == good
    assert jobs.put_verification(failed) == good
    jobs.replace_plans("j1", [])
    assert jobs.list_verifications("j1") == [good]
    assert jobs.put_verification(again, replace=True) == again
    assert jobs.list_verifications("j2") == []


def test_corrections_are_renewed_and_listed_the_newest_first(jobs: Store) -> None:
    jobs.put_device(DeviceRecord("dev", "local", {}))
    jobs.put_device(DeviceRecord("far", "ssh://pi", {}))
    latency = CorrectionRecord(
        "j1", "latency_mean_ms", "dev", {"stages": 1.2, "spinning": None}, 7, 0.05, 0.02, AT
    )
    memory = replace(latency, metric="peak_memory_mb", created_at=AT + timedelta(minutes=1))
    far = replace(latency, job_id="j2", device_key="far", created_at=AT - timedelta(minutes=1))
    jobs.put_corrections([latency, memory, far])
    assert jobs.list_corrections() == [memory, latency, far]
    assert jobs.list_corrections(device_key="far") == [far]

    better = replace(latency, plans=9, error_held_out=0.01, created_at=AT + timedelta(hours=1))
    jobs.put_corrections([better])
    assert jobs.list_corrections(job_id="j1") == [better, memory]
    assert jobs.list_corrections(job_id="j1", device_key="far") == []


def test_a_correction_is_of_a_job_and_a_device(jobs: Store) -> None:
    lost = CorrectionRecord("j1", "latency_mean_ms", "none", {}, 1, 0.1, 0.1)
    with pytest.raises(StoreError, match="does not hold"):
        jobs.put_corrections([lost])
    with pytest.raises(StoreError, match=r"CorrectionRecord\.model\.a must be finite"):
        jobs.put_corrections([replace(lost, model={"a": float("nan")})])


def test_a_figure_may_say_how_optimistic_a_choice_was(jobs: Store) -> None:
    jobs.replace_plans("j1", [plan("a")], [replace(metric("a", 0.01), basis="optimism")])
    assert jobs.list_plans("j1")[0].value("top1", "tune", "optimism") == 0.01
