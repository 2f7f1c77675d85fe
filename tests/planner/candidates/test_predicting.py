"""Jobs predict what they measure, tell how far off they were, and learn from earlier jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import SETTINGS
from PIL import Image
from sample_models import INPUT, texture_images, write_onnx
from sample_tflite import write_tflite

import trimtab
from trimtab.db import JobRecord, PlanMetricRecord, PlanRecord, Store
from trimtab.planner.candidates.features import CandidateFeatures
from trimtab.planner.candidates.space import candidate_space
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.notes import front_notes
from trimtab.profilers import Device

MEASUREMENTS = 7


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("predicting")
    write_onnx(folder / "small.onnx", width=2)
    write_onnx(folder / "large.onnx", width=16)
    write_onnx(folder / "middle.onnx", width=8)
    write_tflite(folder / "lite.tflite", width=8, quantised=True)
    images, labels = texture_images(60, seed=5)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "photos" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return folder


def job(home: Path, *names: str, **changes: Any) -> dict[str, Any]:
    said = {".onnx": {"input": INPUT}, ".tflite": {}}
    return {
        "name": "predicted",
        "models": [{"path": str(home / n), **said[Path(n).suffix]} for n in names],
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": 20, "tune": 20, "test": 20},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False},
        "runtime": {"threads": [1]},
        "budget": {"measurements": MEASUREMENTS},
        "verify": 0,
        **changes,
    }


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[Store]:
    with Store.open(home / "store" / "trimtab.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def done(home: Path, store: Store, machine: Device) -> JobRecord:
    """A job that has measured, and decided nothing."""
    with opened_run(first(home), store, settings=SETTINGS, device=machine) as run:
        run.measure(run.members())
        return run.job.record


def first(home: Path) -> trimtab.JobSpec:
    return trimtab.load_spec(job(home, "small.onnx", "large.onnx", "lite.tflite"))


def test_the_budget_is_kept_and_held_out_errors_are_in_the_store(
    store: Store, done: JobRecord
) -> None:
    candidates = store.list_candidates(done.id)
    assert len(candidates) == MEASUREMENTS
    told = done.summary["predictors"]
    assert set(told) == {"top1", "latency_mean_ms"}
    for errors in told.values():
        assert errors["ahead"]["count"] == MEASUREMENTS - 2, "from the third measurement on"
        assert errors["left_out"]["count"] == MEASUREMENTS
        assert all(0 <= each["within"] <= 1 and each["median"] >= 0 for each in errors.values())


def test_running_again_predicts_nothing_anew(home: Path, store: Store, done: JobRecord) -> None:
    before = store.list_measurements()
    with opened_run(first(home), store, settings=SETTINGS) as run:
        assert run.job.job_id == done.id
        run.measure(run.members())
        assert run.job.record.summary["predictors"] == done.summary["predictors"]
    assert store.list_measurements() == before


def test_the_command_tells_them_below_the_front(home: Path, store: Store, done: JobRecord) -> None:
    metrics = [PlanMetricRecord(done.id, "p1", "top1", "tune", "replayed", 0.9)]
    store.replace_plans(done.id, [PlanRecord(done.id, "p1", "small", {})], metrics)
    view = front_view(store, done)
    assert [(found.metric, found.held_out, found.count) for found in view.predictors] == [
        ("top1", "ahead", MEASUREMENTS - 2),
        ("top1", "left_out", MEASUREMENTS),
        ("latency_mean_ms", "ahead", MEASUREMENTS - 2),
        ("latency_mean_ms", "left_out", MEASUREMENTS),
    ]
    told = front_notes(view, 1)
    median = done.summary["predictors"]["latency_mean_ms"]["ahead"]["median"]
    assert (
        "Median prediction error of latency_mean_ms, before measuring: "
        f"{median:.1%} ({MEASUREMENTS - 2} candidates)." in told
    )
    median = done.summary["predictors"]["top1"]["left_out"]["median"]
    assert (
        "Median prediction error of top1, leave-one-model-out: "
        f"{100 * median:.1f} points ({MEASUREMENTS} candidates)." in told
    )


def test_a_job_starts_from_earlier_measurements_on_the_device(
    home: Path, store: Store, done: JobRecord
) -> None:
    spec = trimtab.load_spec(job(home, "middle.onnx", "lite.tflite", name="later"))
    with opened_run(spec, store, settings=SETTINGS) as run:
        members = run.members()
        space = candidate_space(spec, members, {"cores": "1"}).candidates
        describing = CandidateFeatures(run.job, members, space)
        earlier = describing.earlier(["top1", "latency_mean_ms"])
        known = [measurement for measurement in store.list_measurements()]
        assert len(earlier) == len(known) >= MEASUREMENTS
        alone = {m.settings["stages"][0]["sha256"] for m in known}
        assert len(alone) > 3
        for about, costs in earlier:
            assert set(costs) == {"latency_mean_ms"}, "qualities are not the device's"
            assert costs["latency_mean_ms"] > 0
            assert [each.kind for each in about.work.operators if each.multiply_accumulates] == [
                *("conv", "conv", "dense")
            ]
            assert about.pixels == 32 * 32
        lite = next(member.built.key for member in members if member.name == "lite")
        assert lite in {about.member for about, _ in earlier}, "the same file is the same member"
        assert ("w8a8",) in {about.steps for about, _ in earlier}


def test_what_a_job_measured_itself_is_not_told_twice(
    home: Path, store: Store, done: JobRecord
) -> None:
    with opened_run(first(home), store, settings=SETTINGS) as run:
        members = run.members()
        describing = CandidateFeatures(
            run.job, members, candidate_space(run.job.spec, members, {"cores": "1"}).candidates
        )
        assert run.job.job_id == done.id
        assert describing.earlier(["latency_mean_ms"]) == []
