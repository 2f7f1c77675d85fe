"""Threads that a device has time for, and what is said of a quota on it."""

from __future__ import annotations

from trimtab.planner.candidates.threads import quota_note, thread_limit
from trimtab.planner.reports.text import device_text


def test_threads_are_cores_unless_a_quota_grants_less() -> None:
    assert thread_limit({}) == 1
    assert thread_limit({"cores": "8"}) == 8
    assert thread_limit({"cores": "8", "cpu_quota": "2.5"}) == 2
    assert thread_limit({"cores": "8", "cpu_quota": "0.5"}) == 1


def test_a_quota_is_told_with_the_threads_beyond_it() -> None:
    assert quota_note({"cores": "8"}, (8, 16)) == ""
    told = quota_note({"cores": "8", "cpu_quota": "2.5"}, (1, 2, 4, 8))
    assert told.startswith("a CPU quota grants it 2.5 of 8 core(s)")
    assert told.endswith("runtime.threads 4, 8 is more than the 2 it has time for")
    assert "runtime.threads" not in quota_note({"cores": "8", "cpu_quota": "2.5"}, None)


def test_a_device_is_named_with_its_quota() -> None:
    assert device_text("local", {"cpu": "x", "cores": "2"}) == "local (x, 2 cores)"
    limited = {"cpu": "x", "cores": "2", "cpu_quota": "0.5"}
    assert device_text("local", limited) == "local (x, 0.5 of 2 cores)"
