"""Classes with few images or none: a clear error or a warning, and metrics that still work."""

import csv
import re

import pytest
from PIL import Image
from sample_models import INPUT, texture_images, write_onnx

import trimtab
from trimtab.planner.jobs.dataset import load_dataset, unseen_classes
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
NAMES = ["north", "north-east", "east", "south-east"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class 2 has one image, class 3 has none."""
    folder = tmp_path_factory.mktemp("rare")
    write_onnx(folder / "small.onnx", width=4)
    (folder / "photos").mkdir()
    images, labels = texture_images(60, seed=5)
    kept = [n for n in range(60) if labels[n] < 2] + [list(labels).index(2)]
    with (folder / "photos" / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label"])
        for number in kept:
            Image.fromarray(images[number]).save(folder / "photos" / f"{number:02}.png")
            table.writerow([f"{number:02}.png", NAMES[labels[number]]])
    return folder


def job(folder, **splits):
    return {
        "name": "rare",
        "models": [{"path": str(folder / "small.onnx"), "input": INPUT}],
        "workload": {
            "images": str(folder / "photos"),
            "classes": NAMES,
            "splits": splits or {"fit": 10, "tune": 10, "test": 10},
        },
        "objectives": {"balanced_accuracy": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 0,
    }


def test_a_job_goes_on_without_images_of_a_class(folder, machine, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(job(folder), store, settings=QUICK, device=machine, setup="ignored")
        assert record.state == "done"
        told = [e for e in store.list_events(record.id) if e.subject == "workload"]
        warned = [event.text for event in told if event.level == "warning"]
        values = [
            entry.value("balanced_accuracy", "tune", "replayed")
            for entry in store.list_plans(record.id)
        ]
    assert len(warned) == 1
    assert "have no image" in warned[0]
    assert "south-east" in warned[0]
    assert all(0 <= value <= 1 for value in values)


def test_each_split_is_looked_at(folder):
    spec = trimtab.load_spec(job(folder))
    warned = unseen_classes(*load_dataset(spec))
    assert warned is not None
    # One image of class 2 is in one split at most; class 3 is in none.
    counts = {split: int(count) for count, split in re.findall(r"(\d) in (\w+)", warned)}
    assert set(counts) == {"fit", "tune", "test"}
    assert sorted(counts.values()) in ([1, 2, 2], [2, 2, 2])
    assert "south-east); accuracy there is unknown" in warned
