"""Whole jobs on tiny real models: resuming, failing in parts, labels and none."""

import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from sample_models import INPUT, onnx_model, write_onnx, write_photos
from sample_tflite import write_tflite

import trimtab
from trimtab.planner.jobs.journal import NullListener
from trimtab_runtime.errors import PlanningError, WorkloadError
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)


class Watcher(NullListener):
    """Remembers what a job said."""

    def __init__(self):
        self.notes, self.steps = [], []

    def step(self, name, detail, done, total):
        self.steps.append((name, detail))

    def note(self, level, subject, text):
        self.notes.append((level, subject, text))

    def of(self, subject):
        return " ".join(text for _, about, text in self.notes if about == subject)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    write_onnx(folder / "small.onnx", width=2)
    write_onnx(folder / "large.onnx", width=16)
    write_tflite(folder / "lite.tflite", width=8, quantised=True)
    (folder / "bare").mkdir()
    for photo in write_photos(folder / "photos", 60):
        shutil.copy(photo, folder / "bare")
    return folder


def job(zoo, **changes):
    return {
        "name": "tiny",
        "models": [
            {"path": str(zoo / "small.onnx"), "input": INPUT},
            {"path": str(zoo / "large.onnx"), "input": INPUT},
            {"path": str(zoo / "lite.tflite")},
        ],
        "workload": {
            "images": str(zoo / "photos"),
            "splits": {"fit": 20, "tune": 20, "test": 20},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 5},
        "together": 3,
        "verify": 2,
        **changes,
    }


def small_job(zoo, **changes):
    """A job over two members as they came."""
    few = {"techniques": {"quantisation": []}, "budget": {"measurements": 2}}
    return job(zoo, models=job(zoo)["models"][:2], **{**few, **changes})


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    with trimtab.Store.open(tmp_path / "store" / "trimtab.db") as opened:
        yield opened


def test_a_job_ends_in_a_verified_front(zoo, store, machine):
    watcher = Watcher()
    record = trimtab.plan(job(zoo), store, watcher, QUICK, machine, setup="ignored")
    assert record.state == "done"
    entries = {entry.plan.key: entry for entry in store.list_plans(record.id)}
    assert sum(entry.plan.is_baseline for entry in entries.values()) == 3
    assert [e.plan.key for e in entries.values() if e.plan.is_chosen] == [record.summary["chosen"]]
    verified = store.list_verifications(record.id)
    assert {v.plan_key for v in verified} >= {record.summary["baseline"]}
    assert all(v.state == "ok" and v.values["answer_mismatch"] == 0 for v in verified)
    for found in verified:
        entry = entries[found.plan_key]
        assert entry.value("latency_mean_ms", "test", "predicted") is not None
        assert entry.value("latency_mean_ms", "test", "measured") is not None
        assert entry.value("top1", "test", "replayed") is not None
    quantised = [v for v in store.list_variants() if v.recipe["step"] == "w8a8"]
    assert {v.member for v in quantised} == {"small", "large"}
    assert all(v.recipe["parent"] in {w.key for w in store.list_variants()} for v in quantised)
    assert "w8a8 does not apply" in watcher.of("lite")
    assert store.count_exposures(record.workload_key) == 1


def test_running_again_measures_nothing_again(zoo, store, machine):
    first = trimtab.plan(job(zoo), store, settings=QUICK, device=machine, setup="ignored")
    before = store.list_measurements(), store.list_verifications(first.id), store.list_traces()
    again = trimtab.plan(job(zoo), store, settings=QUICK, device=machine, setup="ignored")
    assert again.id == first.id
    after = store.list_measurements(), store.list_verifications(first.id), store.list_traces()
    assert after == before
    assert again.summary["chosen"] == first.summary["chosen"]


def test_another_job_finds_what_was_measured(zoo, store, machine):
    trimtab.plan(job(zoo, verify=0), store, settings=QUICK, device=machine, setup="ignored")
    measured = store.list_measurements()
    other = trimtab.plan(
        job(zoo, name="other", verify=0), store, settings=QUICK, device=machine, setup="ignored"
    )
    assert len(store.list_jobs()) == 2
    assert store.list_measurements() == measured
    assert other.state == "done"


def _run_job(spec, path):
    with trimtab.Store.open(path) as opened:
        trimtab.plan(spec, opened, settings=QUICK, setup="ignored")


@pytest.mark.slow
def test_a_killed_job_goes_on(zoo, store, tmp_path):
    path = tmp_path / "store" / "trimtab.db"
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_run_job, args=(job(zoo), path))
    process.start()
    while process.is_alive() and len(store.list_measurements(state="ok")) < 2:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = {m.key: m.created_at for m in store.list_measurements(state="ok")}
    assert len(kept) >= 2
    record = trimtab.plan(job(zoo), store, settings=QUICK, setup="ignored")
    assert record.state == "done"
    assert len(store.list_jobs()) == 1
    found = {m.key: m.created_at for m in store.list_measurements(state="ok")}
    assert kept.items() <= found.items()
    assert record.summary["candidates"] == 5


def nan_model():
    model = onnx_model(width=4)
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.float32 and values.ndim > 1:
            broken = numpy_helper.from_array(np.full_like(values, np.nan), initializer.name)
            initializer.CopyFrom(broken)
    return model


def test_what_fails_is_recorded_and_the_rest_goes_on(zoo, store, machine, tmp_path):
    (tmp_path / "broken.onnx").write_bytes((zoo / "large.onnx").read_bytes()[:200])
    onnx.save(nan_model(), tmp_path / "nan.onnx")
    models = [
        *job(zoo)["models"],
        {"path": str(tmp_path / "broken.onnx"), "input": INPUT},
        {"path": str(tmp_path / "nan.onnx"), "input": INPUT},
        {"path": str(tmp_path / "absent.onnx"), "input": INPUT},
    ]
    watcher = Watcher()
    record = trimtab.plan(
        job(zoo, models=models, verify=0), store, watcher, QUICK, machine, setup="ignored"
    )
    assert record.state == "done"
    assert "models[3]" in watcher.of("broken")
    assert "no such file" in watcher.of("absent")
    failed = store.list_candidates(record.id, state="failed")
    told = " ".join(filter(None, [*(c.reason for c in failed), watcher.of("nan")]))
    assert "NaN" in told
    events = {(event.level, event.subject) for event in store.list_events(record.id)}
    assert {("error", "broken"), ("error", "absent")} <= events


def test_width_that_does_not_fit_the_labels_is_told_with_its_remedy(zoo, store, machine):
    spec = job(zoo)
    spec["workload"]["classes"] = ["background", "class0", "class1", "class2", "class3"]
    watcher = Watcher()
    with pytest.raises(
        PlanningError, match=r"no model could be loaded: .*the model has 4 classes"
    ):
        trimtab.plan(spec, store, watcher, QUICK, machine, setup="ignored")
    assert "the model has 4 classes, the labels have 5" in watcher.of("small")
    assert store.list_jobs()[0].state == "failed"


def test_without_labels_agreement_with_the_reference_stands_in(zoo, store, machine):
    spec = small_job(zoo, reference="large", verify=1)
    spec["workload"]["images"] = str(zoo / "bare")
    record = trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")
    assert record.summary["quality"] == ["agreement"]
    entries = {entry.plan.key: entry for entry in store.list_plans(record.id)}
    baseline = entries[record.summary["baseline"]]
    assert baseline.plan.label == "large 1t"
    assert baseline.value("agreement", "tune", "replayed") == 1.0
    assert not any(name == "top1" for e in entries.values() for name, _, _ in e.metrics)


def test_without_labels_or_reference_it_says_what_is_missing(zoo, store, machine):
    spec = job(zoo)
    spec["workload"]["images"] = str(zoo / "bare")
    with pytest.raises(PlanningError, match="set `reference` to the model"):
        trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")


def test_constraints_that_nothing_meets_name_the_nearest_plan(zoo, store, machine):
    spec = job(zoo, constraints=["latency_mean_ms <= 0.000001"], verify=0)
    record = trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")
    assert record.summary["chosen"] is None
    reasons = [r for entry in store.list_plans(record.id) for r in entry.plan.reasons]
    assert sum("comes nearest" in reason for reason in reasons) == 1


def test_a_percentile_can_be_a_constraint(zoo, store, machine):
    spec = small_job(zoo, constraints=["latency_p90_ms <= 1000"], verify=0)
    settings = MeasureSettings(
        seconds=0.1, max_seconds=100, min_rounds=70, hot_per_beside=1, warmup_seconds=0.02
    )
    record = trimtab.plan(spec, store, settings=settings, device=machine, setup="ignored")
    assert record.summary["chosen"] is not None
    few = MeasureSettings(seconds=0.1, min_rounds=5, max_rounds=5, warmup_seconds=0.02)
    short = trimtab.plan(
        {**spec, "name": "short"}, store, settings=few, device=machine, setup="ignored"
    )
    assert short.summary["chosen"] is None  # too few samples: unknown, so not feasible


def test_a_pytorch_member_is_named_by_its_import_path(zoo, store, machine, tmp_path):
    (tmp_path / "my_nets.py").write_text(
        "import torch\n\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__(torch.nn.Flatten(), torch.nn.Linear(3072, classes))\n"
    )
    torch.manual_seed(0)
    torch.save({"1.weight": torch.randn(4, 3072), "1.bias": torch.zeros(4)}, tmp_path / "w.pt")
    member = {
        "name": "mine",
        "torch": {
            "entry": "my_nets:Net",
            "arguments": {"classes": 4},
            "state": str(tmp_path / "w.pt"),
            "folder": str(tmp_path),
        },
        "input": {"size": 32, "mean": 127.5, "std": 127.5},
    }
    spec = small_job(zoo, verify=0, budget={"measurements": 3})
    spec["models"].append(member)
    record = trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")
    labels = [e.plan.label for e in store.list_plans(record.id) if e.plan.is_baseline]
    assert "mine 1t" in labels


def test_unreadable_images_are_counted_before_anything_is_measured(zoo, store, machine, tmp_path):
    broken = tmp_path / "photos"
    for number in range(2):
        place = broken / f"class{number}"
        place.mkdir(parents=True)
        for image in range(30):
            Image.new("RGB", (8, 8), (image, number, 0)).save(place / f"{number}-{image}.png")
        (place / "bad.png").write_text("no image")
    spec = job(zoo)
    spec["workload"]["images"] = str(broken)
    with pytest.raises(WorkloadError, match="2 of 62"):
        trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")
    assert store.list_measurements() == []
