"""Jobs, candidates, looks at a test split and events; over both engines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from trimtab.db import (
    CandidateRecord,
    DeviceRecord,
    EventRecord,
    ExposureRecord,
    JobRecord,
    Store,
    WorkloadRecord,
)
from trimtab_runtime.errors import StoreError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = JobRecord("job-1", "camera", {"name": "camera"}, "aa", started_at=AT)


def later(job: JobRecord, number: int, spec_sha256: str = "aa") -> JobRecord:
    started_at = AT + timedelta(minutes=number)
    return replace(job, id=f"job-{number}", spec_sha256=spec_sha256, started_at=started_at)


def test_a_job_comes_back_as_it_was(store: Store) -> None:
    store.add_job(JOB)
    assert store.get_job("job-1") == JOB
    assert store.get_job("job-2") is None


def test_an_id_is_used_once(store: Store) -> None:
    store.add_job(JOB)
    with pytest.raises(StoreError, match="already holds a record with this key"):
        store.add_job(replace(JOB, name="other"))
    assert store.list_jobs() == [JOB]


def test_jobs_are_listed_newest_first(store: Store) -> None:
    for number, spec in ((2, "aa"), (4, "bb"), (3, "aa")):
        store.add_job(later(JOB, number, spec))
    store.update_job("job-4", state="failed", message="no device")

    assert [job.id for job in store.list_jobs()] == ["job-4", "job-3", "job-2"]
    assert [job.id for job in store.list_jobs(limit=1)] == ["job-4"]
    assert [job.id for job in store.list_jobs(state="running")] == ["job-3", "job-2"]
    latest = store.latest_job("aa")
    assert latest is not None
    assert latest.id == "job-3"
    assert store.latest_job("cc") is None


def test_a_job_is_updated_field_by_field(store: Store) -> None:
    store.put_device(DeviceRecord("dev", "local", {}))
    store.put_workload(WorkloadRecord("work", "photos", {}))
    store.add_job(JOB)

    store.update_job("job-1", progress={"measured": 3}, message="measuring")
    store.update_job("job-1", device_key="dev", workload_key="work")
    job = store.update_job("job-1", message=None)

    assert job == store.get_job("job-1")
    assert job == replace(JOB, device_key="dev", workload_key="work", progress={"measured": 3})


def test_a_job_has_a_finish_exactly_while_it_does_not_run(store: Store) -> None:
    store.add_job(replace(JOB, finished_at=AT))
    job = store.get_job("job-1")
    assert job is not None
    assert job.finished_at is None

    before = datetime.now(UTC)
    finished_at = store.update_job("job-1", state="interrupted").finished_at
    assert finished_at is not None
    assert before <= finished_at <= datetime.now(UTC)
    assert store.update_job("job-1", state="running").finished_at is None
    assert store.update_job("job-1", state="done", finished_at=AT).finished_at == AT


def test_an_unknown_job_or_state_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no job 'job-9'"):
        store.update_job("job-9", message="x")
    store.add_job(JOB)
    with pytest.raises(StoreError, match="must be one of running, done"):
        store.update_job("job-1", state="ready")  # type: ignore[typeddict-item]
    with pytest.raises(StoreError, match="does not hold"):
        store.update_job("job-1", device_key="none")
    assert store.get_job("job-1") == JOB


def test_candidates_are_put_and_put_again(store: Store) -> None:
    store.add_job(JOB)
    base = CandidateRecord("job-1", "c0", "var", {"threads": 1}, "baseline", None, "measured")
    tried = CandidateRecord("job-1", "c1", "var", {}, "candidate", 7, "failed", "no kernel")
    skipped = CandidateRecord("job-1", "c2", "never made", {}, "candidate", 2, "skipped")
    store.put_candidates([tried, base, skipped])
    store.put_candidates([replace(tried, state="measured", reason=None)])
    store.put_candidates([])

    measured = replace(tried, state="measured", reason=None)
    assert store.list_candidates("job-1") == [base, skipped, measured]
    assert store.list_candidates("job-1", role="baseline") == [base]
    assert store.list_candidates("job-1", state="skipped") == [skipped]
    with pytest.raises(StoreError, match="does not hold"):
        store.put_candidates([replace(base, job_id="job-9")])


def test_looks_at_a_split_are_counted_over_all_jobs(store: Store) -> None:
    store.put_workload(WorkloadRecord("work", "photos", {}))
    store.put_workload(WorkloadRecord("other", "photos", {}))
    store.add_job(JOB)
    store.add_job(later(JOB, 2))
    look = ExposureRecord("job-1", "work", "test", "report", 12, AT)
    looks = [look, look, replace(look, job_id="job-2"), replace(look, split="tune")]
    for one in [*looks, replace(look, workload_key="other")]:
        store.add_exposure(one)

    assert store.count_exposures("work") == 3
    assert store.count_exposures("work", "tune") == 1
    assert store.count_exposures("none") == 0
    assert store.list_exposures(workload_key="work") == looks
    assert store.list_exposures(job_id="job-2") == [looks[2]]


def test_events_are_listed_in_the_order_they_came(store: Store) -> None:
    store.add_job(JOB)
    events = [
        EventRecord("job-1", AT, level, "lite0", f"step {number}")
        for number, level in enumerate(("info", "error", "info", "warning"))
    ]
    for event in events:
        store.add_event(event)

    assert store.list_events("job-1") == events
    assert store.list_events("job-1", limit=2) == events[2:]
    assert store.list_events("job-1", level="info") == [events[0], events[2]]
    assert store.list_events("job-2") == []
