"""A whole job that is about one class: an objective, constraints, and what the commands show."""

import json
import shlex

import pytest
from sample_models import INPUT, write_onnx, write_photos

import trimtab
from trimtab.planner.cli import main
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
RECALL = "recall[class [1]]"


@pytest.fixture
def spec(tmp_path):
    write_onnx(tmp_path / "small.onnx", width=2)
    write_onnx(tmp_path / "large.onnx", width=16)
    write_photos(tmp_path / "photos", 60, names=spec_classes())
    return {
        "name": "one class",
        "models": [
            {"path": str(tmp_path / f"{name}.onnx"), "input": INPUT} for name in ("small", "large")
        ],
        "workload": {
            "images": str(tmp_path / "photos"),
            "splits": {"fit": 20, "tune": 20, "test": 20},
        },
        "objectives": {RECALL: "max", "latency_mean_ms": "min"},
        "constraints": ["macro_f1 >= 0.05", f"{RECALL} >= 0.5 * baseline"],
        "techniques": {"quantisation": []},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 4,
        "verify": 0,
    }


def spec_classes():
    return [f"class [{label}]" for label in range(4)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "store" / "trimtab.db"


def test_a_job_about_one_class(spec, place, machine, capsys):
    with trimtab.Store.open(place) as store:
        record = trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")
        assert record.state == "done"
        assert record.summary["quality"] == [RECALL, "macro_f1"]
        chosen = next(e for e in store.list_plans(record.id) if e.plan.is_chosen)
    for metric in (RECALL, "macro_f1", "top1"):
        told = chosen.metrics[metric, "test", "replayed"]
        assert 0 <= told.low <= told.value <= told.high <= 1
    for metric in (RECALL, "macro_f1"):
        assert chosen.value(metric, "tune", "guarded") <= 1.0
        assert chosen.value(metric, "tune", "replayed") is not None

    def said(command):
        assert main(["--store", str(place), *shlex.split(command)]) == 0
        return capsys.readouterr().out

    counts = chosen.plan.definition["confusions"]
    assert sum(count for _, _, count in counts) == 20  # the images of test, once
    right = sum(count for label, answer, count in counts if label == answer)
    assert right / 20 == pytest.approx(chosen.value("top1", "test", "replayed"))
    told = said(f"show {chosen.plan.key[:8]}")
    assert "Recall on test, class by class" in told
    assert "Confusion matrix on test" in told
    matrix = json.loads(said(f"show {chosen.plan.key[:8]} --format json"))["confusions"]
    assert {one["name"] for one in matrix["classes"]} <= set(spec_classes())
    assert RECALL in said(f"show {chosen.plan.key[:8]}")
    assert "macro_f1" in said(f"show {chosen.plan.key[:8]}")
    assert "class [1]" in said("front")
    assert f"{RECALL}_tune_guarded" in said("front --format csv")
    rows = json.loads(said("front --format json"))["rows"]
    assert all(RECALL in row["figures"] for row in rows)
    assert main(["--store", str(place), "export", chosen.plan.key, "-o", str(place) + ".pyz"]) == 0


def test_a_class_that_does_not_exist_stops_it_before_anything_is_measured(spec, place):
    spec["objectives"] = {"recall[class 1]": "max", "latency_mean_ms": "min"}
    with (
        trimtab.Store.open(place) as store,
        pytest.raises(SpecificationError, match=r"did you mean 'recall\[class \[1\]\]'"),
    ):
        trimtab.plan(spec, store, settings=QUICK, setup="ignored")
    with trimtab.Store.open(place) as store:
        assert store.list_jobs() == []
        assert store.list_measurements() == []
