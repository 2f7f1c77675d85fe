"""Jobs with early exits and memory, from images to bundles that agree with the replay."""

from dataclasses import replace

import pytest
import yaml
from killing import SETTINGS
from sample_models import INPUT, write_onnx, write_photos
from sample_tflite import write_tflite
from typer.testing import CliRunner

import trimtab
from trimtab.db import Store
from trimtab.planner.cli import app
from trimtab.planner.reports.answers.inputs import job_inputs
from trimtab.planner.reports.answers.plan_answers import plan_answers
from trimtab.planner.reports.plan.report import report_plan
from trimtab_runtime.errors import PlanningError

STREAM = {"kind": "dwelling", "mean_frames": 6, "frames": 160, "shift": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("early")
    write_onnx(folder / "net.onnx", width=192)
    write_tflite(folder / "lite.tflite", 16, softmax=False)
    write_photos(folder / "photos", 150)
    return folder


def job(home, model, stream, **changes):
    said = {"path": str(home / model), "input": INPUT}
    return {
        "name": "early",
        "models": [said],
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": 50, "tune": 50, "test": 50},
            "stream": stream,
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "constraints": ["top1 >= baseline - 0.05"],
        "techniques": {"quantisation": [], "exits": True, "memory": True},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 1},
        "together": 4,
        "verify": 4,
        **changes,
    }


@pytest.fixture(scope="module")
def done(home, machine):
    """A finished job on a dwelling stream, in a store."""
    with Store.open(home / "trimtab.db") as store:
        spec = job(home, "net.onnx", STREAM)
        yield store, trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")


def test_bundles_agree_with_the_replay(done):
    store, record = done
    found = {v.plan_key: v for v in store.list_verifications(record.id)}
    plans = {entry.plan.key: entry.plan for entry in store.list_plans(record.id)}
    early = [key for key in found if plans[key].definition["exits"]]
    assert len(early) >= 4
    for key in early:
        assert found[key].state == "ok", found[key].reason
        assert found[key].values["answer_mismatch"] == 0
        frames = found[key].details["frames"]
        assert {len(frames[name]) for name in ("by", "tap", "right", "block")} == {160}
    labels = {plans[key].label for key in early}
    for rival in ("hold last", "thumbnails only", "memory as published"):
        assert f"net 1t: {rival}" in labels
    used = {row["by"] for key in early for row in plans[key].definition["exits"]}
    assert {"network", "thumbnails"} <= used


def test_frames_that_look_alike_are_answered_from_memory(done):
    store, record = done
    (chosen,) = [e for e in store.list_plans(record.id) if e.plan.is_chosen]
    rows = chosen.plan.definition["exits"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(row["share"] for row in rows if row["by"] != "network") > 0.3
    base = next(e for e in store.list_plans(record.id) if e.plan.key == record.summary["baseline"])
    assert chosen.value("latency_mean_ms", "tune", "predicted") < base.value(
        "latency_mean_ms", "tune", "predicted"
    )


def test_what_is_shown_frame_by_frame_is_what_the_plan_answers(done):
    store, record = done
    inputs, told = job_inputs(record), 0
    for entry in store.list_plans(record.id):
        found = plan_answers(store, record, entry.plan, inputs)
        assert found.source == "replayed", entry.plan.label
        stored = entry.value("top1", "test", "replayed")
        if stored is not None:
            told += bool(entry.plan.definition["exits"])
            assert found.right.mean() == pytest.approx(stored, abs=1e-6), entry.plan.label
    assert told >= 4


def test_what_the_store_lost_is_what_the_bundle_said_or_not_known(done):
    store, record = done
    inputs = job_inputs(record)
    lost = replace(inputs, images=inputs.images[1:])  # no trace is of these
    verified = {v.plan_key: v for v in store.list_verifications(record.id)}
    sources = set()
    for entry in store.list_plans(record.id):
        told = verified.get(entry.plan.key)
        if told is None or "right" not in told.details.get("frames", {}):
            with pytest.raises(PlanningError, match=r"is not known: .* is not in the store"):
                plan_answers(store, record, entry.plan, lost)
            sources.add("unknown")
        else:
            found = plan_answers(store, record, entry.plan, lost)
            assert found.source == "measured"
            assert found.right.tolist() == told.details["frames"]["right"]
            sources.add("measured")
    assert sources == {"unknown", "measured"}


def test_the_same_job_again_measures_nothing(done, home, machine):
    store, record = done
    before = [(m.key, m.created_at) for m in store.list_measurements()]
    plans = [entry.plan.key for entry in store.list_plans(record.id)]
    again = trimtab.plan(
        job(home, "net.onnx", STREAM), store, settings=SETTINGS, device=machine, setup="ignored"
    )
    assert again.id == record.id
    assert [(m.key, m.created_at) for m in store.list_measurements()] == before
    assert [entry.plan.key for entry in store.list_plans(record.id)] == plans


def test_nothing_of_a_plan_is_a_leftover(done):
    store, _ = done
    assert store.unreferenced().leftovers == []


def test_show_says_where_inputs_stop(done, home):
    store, record = done
    (chosen,) = [e.plan for e in store.list_plans(record.id) if e.plan.is_chosen]
    told = report_plan(store, chosen)
    assert told.exits
    assert "taps cost" in told.early["net 1t"]
    (home / "job.yaml").write_text(yaml.safe_dump(job(home, "net.onnx", STREAM)))
    shown = CliRunner().invoke(app, ["--store", str(home / "trimtab.db"), "show", chosen.key[:12]])
    assert shown.exit_code == 0, shown.output
    assert "Exits of the test inputs" in shown.output
    assert "Early exits of net 1t: its 1 taps cost" in shown.output.replace("\n", " ")


@pytest.mark.slow
def test_a_tflite_member_offers_the_input_tap_only(home, machine, tmp_path):
    with Store.open(tmp_path / "trimtab.db") as store:
        spec = job(home, "lite.tflite", STREAM)
        record = trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")
        (reason,) = record.summary["early"]["reasons"].values()
        assert reason == "has the input tap only: TFLite files cannot be split"
        kinds = {
            row["by"]
            for entry in store.list_plans(record.id)
            for row in entry.plan.definition["exits"]
        }
        assert kinds == {"network", "thumbnails"}


def test_static_exits_are_certified_where_that_was_asked(home, machine, tmp_path):
    asked = {
        "techniques": {"quantisation": [], "exits": True},
        "certify": {"loss": 0.02, "confidence": 0.9, "share": 0.4},
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": 50, "tune": 50, "test": 50},
        },
    }
    with Store.open(tmp_path / "trimtab.db") as store:
        spec = job(home, "net.onnx", {}, **asked)
        record = trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")
        early = [e.plan for e in store.list_plans(record.id) if e.plan.definition["exits"]]
        assert early
        for plan in early:
            assert plan.definition["certificate"].startswith("not certifiable with n = 20")
            assert not plan.is_chosen
