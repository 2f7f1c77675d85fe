"""Files that nothing refers to, and their removal; over both engines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.db import (
    ArtefactRecord,
    DeviceRecord,
    EventRecord,
    JobRecord,
    MeasurementRecord,
    PlanRecord,
    Store,
    TraceRecord,
    VariantRecord,
    VerificationRecord,
    WorkloadRecord,
    utc_now,
)
from trimtab_runtime.errors import StoreError

HOLD = """
import sys; from trimtab.db import Store
with Store.open(sys.argv[1]) as store, store.lease("dev", holder="job j1 (camera)"):
    print("holds", flush=True); input()
"""
WRITE_HALF = """
import sys; from trimtab.db import ArtefactStore
def chunks():
    yield b"half"
    print("half", flush=True); input()
ArtefactStore(sys.argv[1])._put(chunks())
"""


def save(store: Store, name: str, kind: str = "model") -> str:
    return store.save_bytes(name.encode(), kind=kind, name=name).sha256


def names(store: Store) -> list[str]:
    return [item.name for item in store.unreferenced().leftovers]


def removed(store: Store) -> list[str]:
    return [item.name for item in store.remove_unreferenced(store.unreferenced().leftovers)]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def job(store: Store) -> Store:
    store.put_device(DeviceRecord("dev", "local", {}))
    store.put_workload(WorkloadRecord("work", "photos", {}))
    store.add_job(JobRecord("j1", "camera", {}, "aa", state="done"))
    return store


@pytest.fixture
def used(job: Store) -> dict[str, str]:
    """Artefacts by name, one for every way to refer to one."""
    named = ("model", "trace", "bundle", "planned", "centres", "measured", "summed")
    sha = {name: save(job, name) for name in named}
    recipe = {"steps": [{"centres": f"sha256:{sha['centres']}"}]}
    job.put_variant(VariantRecord("var", "m", "n", "onnx", sha["model"], 1, recipe, {}))
    job.put_trace(TraceRecord("trace", "var", "work", "ort", sha["trace"]))
    stages = [{"variant": {"sha256": sha["planned"]}}]
    job.replace_plans("j1", [PlanRecord("j1", "p1", "", {"stages": stages})])
    job.put_verification(VerificationRecord("j1", "p1", sha["bundle"], {}, {}))
    details = {"log": sha["measured"]}
    job.put_measurement(MeasurementRecord("m", "dev", "var", {}, {}, {}, {}, details=details))
    job.update_job("j1", summary={"predictor": sha["summed"]})
    return sha


def test_what_is_referred_to_stays(job: Store, used: dict[str, str]) -> None:
    assert job.unreferenced().leftovers == []
    assert job.unreferenced().missing == []


def test_what_nothing_refers_to_goes_with_its_file(job: Store, used: dict[str, str]) -> None:
    sha256 = save(job, "old")
    job.add_event(EventRecord("j1", utc_now(), "info", "old", f"made {sha256}"))
    age(job.artefacts.path(sha256), 50)
    (found,) = job.unreferenced().leftovers

    assert (found.kind, found.name, found.sha256, found.size_bytes) == ("model", "old", sha256, 3)
    assert found.age_s == pytest.approx(50, abs=20)
    assert job.get_artefact(sha256) is not None
    assert job.remove_unreferenced([found]) == [found]
    assert job.get_artefact(sha256) is None
    assert not found.path.exists()
    assert job.unreferenced().leftovers == []
    assert all(job.artefacts.path(kept).is_file() for kept in used.values())
    assert save(job, "old") == sha256
    assert job.artefacts.path(sha256).read_bytes() == b"old"


def test_the_bundle_of_a_plan_that_is_gone_goes_with_its_verification(
    job: Store, used: dict[str, str]
) -> None:
    again = save(job, "bundle of p2", "bundle")
    job.put_verification(VerificationRecord("j1", "p2", again, {}, {}))
    assert removed(job) == ["bundle of p2"]
    assert [v.plan_key for v in job.list_verifications("j1")] == ["p1"]

    job.replace_plans("j1", [])
    assert sorted(removed(job)) == ["bundle", "planned"]
    assert job.list_verifications("j1") == []


def test_what_came_into_use_meanwhile_stays(job: Store) -> None:
    sha256, other = save(job, "late"), save(job, "other")
    found = job.unreferenced().leftovers
    job.put_variant(VariantRecord("var", "m", "n", "onnx", sha256, 1, {}, {}))

    assert [item.sha256 for item in job.remove_unreferenced(found)] == [other]
    assert job.artefacts.path(sha256).read_bytes() == b"late"
    assert job.get_artefact(sha256) is not None


def test_a_file_that_no_row_knows_goes_when_it_is_old(job: Store) -> None:
    sha256 = job.artefacts.put_bytes(b"stray")
    path = job.artefacts.path(sha256)
    foreign = path.parent / "notes.txt"
    foreign.touch()
    age(foreign, 9000)
    assert names(job) == []
    age(path, 3700)
    (found,) = job.unreferenced().leftovers
    assert (found.kind, found.sha256) == ("stray", sha256)
    assert found.name == f"{sha256[:2]}/{sha256}"

    job.put_artefact(ArtefactRecord(sha256, "model", 5, "known now"))
    job.put_variant(VariantRecord("var", "m", "n", "onnx", sha256, 1, {}, {}))
    assert job.remove_unreferenced([found]) == []
    assert path.exists()
    assert foreign.exists()


def test_what_a_dead_writer_left_goes_when_it_is_old(
    job: Store, second: Callable[..., Any]
) -> None:
    writer = second(WRITE_HALF, str(job.artefacts.folder))
    assert writer.hear() == "half"
    writer.kill()
    (part,) = job.artefacts.folder.glob(".*.part")
    assert names(job) == []
    age(part, 3700)

    assert [item.kind for item in job.unreferenced().leftovers] == ["partial"]
    assert removed(job) == [part.name]
    assert list(job.artefacts.folder.iterdir()) == []


def test_rows_without_their_file(job: Store, used: dict[str, str]) -> None:
    lost = save(job, "lost")
    for sha256 in (lost, used["trace"]):
        job.artefacts.path(sha256).unlink()
    found = job.unreferenced()

    assert found.missing == [job.get_artefact(used["trace"])]
    assert [(item.name, item.size_bytes, item.age_s) for item in found.leftovers] == [
        ("lost", 0, None)
    ]
    assert removed(job) == ["lost"]
    assert job.get_artefact(lost) is None
    assert job.get_artefact(used["trace"]) is not None


def test_nothing_is_removed_while_a_job_runs(
    job: Store, place: str, second: Callable[..., Any]
) -> None:
    sha256 = save(job, "just made")
    found = job.unreferenced().leftovers
    running = second(HOLD, place)
    assert running.hear() == "holds"

    said = rf"'job j1 \(camera\)' is running with this store \(process {running.process.pid} on"
    with pytest.raises(StoreError, match=said):
        job.unreferenced()
    with pytest.raises(StoreError, match=said):
        job.remove_unreferenced(found)
    assert job.artefacts.path(sha256).read_bytes() == b"just made"

    running.kill()
    assert removed(job) == ["just made"]


def test_no_job_begins_while_files_are_removed(
    job: Store, reopen: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(job, "old")
    found = job.unreferenced().leftovers
    hasty = reopen(busy_timeout_s=0.05)
    remove = job.artefacts.remove

    def begin_between(path: Path) -> None:
        with (
            pytest.raises(StoreError, match="is locked by another process"),
            hasty.lease("dev", holder="job j2"),
        ):
            pytest.fail("a lease was given during removal")
        remove(path)

    monkeypatch.setattr(job.artefacts, "remove", begin_between)
    assert job.remove_unreferenced(found) == found


def test_many_are_removed_in_batches(job: Store) -> None:
    kept = save(job, "kept")
    job.put_variant(VariantRecord("var", "m", "n", "onnx", kept, 1, {}, {}))
    many = {save(job, f"old {number}") for number in range(450)}
    assert len(removed(job)) == len(many) == 450
    assert [record.name for record in job.list_artefacts()] == ["kept"]
    assert [file.sha256 for file in job.artefacts.files()] == [kept]


def test_a_reader_sees_and_removes_nothing(job: Store, reopen: Callable[..., Store]) -> None:
    sha256 = save(job, "old")
    reader = reopen(read_only=True)
    found = reader.unreferenced().leftovers
    assert [item.name for item in found] == ["old"]
    with pytest.raises(StoreError, match="open for reading only"):
        reader.remove_unreferenced(found)
    assert job.artefacts.path(sha256).is_file()
