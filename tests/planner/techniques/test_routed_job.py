"""Jobs with routers and learned deferral, from images to bundles that agree with the replay."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from killing import SETTINGS
from PIL import Image
from sample_models import INPUT, write_onnx, write_photos
from stored_answers import assert_answers_give_the_stored_quality
from typer.testing import CliRunner

import trimtab
from trimtab.db import Store
from trimtab.planner.cli import app
from trimtab.planner.reports.answers.inputs import job_inputs
from trimtab.planner.reports.answers.plan_answers import plan_answers
from trimtab.planner.reports.answers.replay import StoredPlan
from trimtab.planner.reports.answers.traces import StoredTraces
from trimtab.planner.reports.plan.report import report_plan
from trimtab.planner.selection.operating_points import POINTS
from trimtab_runtime import Plan
from trimtab_runtime.errors import PlanningError

KINDS = {"image", "tensor", "tap", "deferral"}  # of learned deferral there are two


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("routed")
    write_onnx(folder / "small.onnx", width=4)
    write_onnx(folder / "large.onnx", width=128)
    write_photos(folder / "photos", 150)
    return folder


def job(home, **changes):
    return {
        "name": "routed",
        "models": [{"path": str(home / f"{n}.onnx"), "input": INPUT} for n in ("small", "large")],
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": 60, "tune": 50, "test": 40},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": [], "routing": True},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 12,
        "verify": 2,
        **changes,
    }


@pytest.fixture(scope="module")
def done(home, machine):
    with Store.open(home / "trimtab.db") as store:
        yield (
            store,
            trimtab.plan(job(home), store, settings=SETTINGS, device=machine, setup="ignored"),
        )


def routed(store, record):
    """Plans that something learned routes, by kind."""
    found = {}
    for entry in store.list_plans(record.id):
        router = report_plan(store, entry.plan).router
        if router is not None:
            found.setdefault(router.kind or "deferral", []).append(entry.plan)
    return found


def test_the_published_premodel_is_verified_and_agrees_with_its_replay(done):
    store, record = done
    found = {v.plan_key: v for v in store.list_verifications(record.id)}
    (rival,) = [
        entry.plan for entry in store.list_plans(record.id) if entry.plan.definition["rival"]
    ]
    assert rival.definition["rival"] == "premodel as published"
    assert found[rival.key].state == "ok", found[rival.key].reason
    assert found[rival.key].values["answer_mismatch"] == 0
    router = report_plan(store, rival).router
    assert router.kind == "image"
    assert len(router.names) == 7
    assert router.router_ms > 0


def test_the_best_plan_of_each_kind_is_listed_and_ships(done, home):
    store, record = done
    photos = {path.name: path for path in (home / "photos").rglob("*.png")}
    plans = routed(store, record)
    assert set(plans) == KINDS
    for kind, own in plans.items():
        plan, bundle = own[0], home / f"{kind}.pyz"
        trimtab.export_plan(store, plan.key, bundle)
        tested = subprocess.run(
            [sys.executable, str(bundle), "selftest"], capture_output=True, text=True, check=False
        )
        assert tested.returncode == 0, tested.stderr + tested.stdout
        loaded = Plan.load(str(bundle))
        for route in plan.definition["routes"]:
            for example in route["examples"]:
                image = Image.open(photos[example.rpartition("/")[2]])
                answer = loaded.classify(np.asarray(image))
                assert (answer.entry, answer.stage) == (route["enter"], route["stop"])


def test_routes_and_what_they_must_be_compared_with(done):
    store, record = done
    for plan in [plan for own in routed(store, record).values() for plan in own]:
        routes, beside = plan.definition["routes"], plan.definition["beside"]
        assert sum(route["share"] for route in routes) == pytest.approx(1)
        right = sum(route["share"] * route["right"] for route in routes)
        assert 0 < right <= beside["union"] + 1e-9
        assert beside["random"] <= beside["union"]
        assert beside["majority"] < max(beside["small 1t"], beside["large 1t"])
        entry = next(e for e in store.list_plans(record.id) if e.plan.key == plan.key)
        assert entry.value("top1", "test", "replayed") in (None, pytest.approx(right))


def test_what_is_shown_input_by_input_is_what_the_plan_answers(done):
    store, record = done
    told = assert_answers_give_the_stored_quality(store, record)
    assert told["test"] >= 2
    assert {"image", "tensor", "deferral"} <= set(routed(store, record))


def test_what_a_router_reads_of_moved_frames_is_not_known(done):
    store, record = done
    inputs = job_inputs(record)
    moved = replace(inputs, moved=np.ones(len(inputs.rows), bool))
    traces, plans = StoredTraces(store, record, moved), routed(store, record)
    with pytest.raises(PlanningError, match="pixels of frames, which are not kept"):
        StoredPlan.of(plans["tensor"][0], traces, moved).replay()
    for plan in plans["deferral"]:
        assert plan_answers(store, record, plan, moved).source == "replayed"


def test_a_bundle_moves_along_a_family_of_points(done, home):
    """Of a cascade: the slower a point was predicted, the more inputs go on, and back again."""
    store, record = done
    cascades = [
        entry.plan
        for entry in store.list_plans(record.id)
        if entry.plan.definition["plan"]["structure"]["route"] == "cascade"
    ]
    own = max(cascades, key=lambda plan: len(plan.definition["points"]))
    trimtab.export_plan(store, own.key, home / "family.pyz")
    plan = Plan.load(str(home / "family.pyz"))
    points = plan.manifest.points
    means = [point.metrics["latency_mean_ms"] for point in points]
    top1 = [point.metrics["top1"] for point in points]
    assert 1 < len(points) <= POINTS
    assert means == sorted(means)
    assert top1 == sorted(top1)
    assert plan.point.thresholds == tuple(own.definition["plan"]["thresholds"])
    images = [np.asarray(Image.open(path)) for path in sorted((home / "photos").rglob("*.png"))]

    def went_on(latency_ms):
        plan.use(latency_ms=latency_ms)
        return sum(plan.classify(image).stage for image in images)

    loaded = list(map(id, plan._stages))
    counts = [went_on(mean) for mean in (means[0], means[-1], means[0])]
    assert counts[0] == counts[2] < counts[1]
    assert plan.use(latency_ms=means[-1] + 1).point == points[-1]
    assert plan.use(latency_ms=means[0] / 2).point == points[0]
    assert list(map(id, plan._stages)) == loaded


def test_the_same_job_again_measures_nothing(done, home, machine):
    store, record = done
    before = [(m.key, m.created_at) for m in store.list_measurements()]
    plans = [entry.plan.key for entry in store.list_plans(record.id)]
    again = trimtab.plan(job(home), store, settings=SETTINGS, device=machine, setup="ignored")
    assert again.id == record.id
    assert [(m.key, m.created_at) for m in store.list_measurements()] == before
    assert [entry.plan.key for entry in store.list_plans(record.id)] == plans


def test_nothing_of_a_plan_is_a_leftover(done):
    store, _ = done
    assert store.unreferenced().leftovers == []


def test_show_says_who_routes_and_where_inputs_go(done, home):
    store, record = done
    (home / "job.yaml").write_text(yaml.safe_dump(job(home)))
    (plan, *_) = routed(store, record)["image"]
    shown = CliRunner().invoke(app, ["--store", str(home / "trimtab.db"), "show", plan.key[:12]])
    assert shown.exit_code == 0, shown.output
    told = shown.output.replace("\n", " ")
    for text in (
        "Routes of the test inputs",
        "Router input: image features",
        "Accuracy on test, for comparison: ",
    ):
        assert text in told


def test_without_the_switch_nothing_is_routed(home, machine, tmp_path):
    asked = {"quantisation": [], "routing": False}
    with Store.open(tmp_path / "trimtab.db") as store:
        spec = job(home, techniques=asked)
        record = trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")
        assert routed(store, record) == {}
