"""A job with routers and early exits: routers in front of stages that may answer inside."""

import subprocess
import sys

import numpy as np
import pytest
from killing import SETTINGS
from PIL import Image
from sample_models import INPUT, write_onnx, write_photos
from stored_answers import assert_answers_give_the_stored_quality

import trimtab
from trimtab.db import Store
from trimtab.planner.reports.plan.report import report_plan
from trimtab_runtime import Plan


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headed")
    write_onnx(folder / "small.onnx", width=16)
    write_onnx(folder / "large.onnx", width=128)
    write_photos(folder / "photos", 140)
    return folder


@pytest.fixture(scope="module")
def done(home, machine):
    said = {
        "name": "headed",
        "models": [{"path": str(home / f"{n}.onnx"), "input": INPUT} for n in ("small", "large")],
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": 60, "tune": 40, "test": 40},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": [], "routing": True, "exits": True},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 6,
        "verify": 1,
    }
    with Store.open(home / "trimtab.db") as store:
        yield store, trimtab.plan(said, store, settings=SETTINGS, device=machine, setup="ignored")


def test_a_premodel_with_heads_behind_it_ships_and_answers_as_replayed(done, home):
    store, record = done
    photos = {path.name: path for path in (home / "photos").rglob("*.png")}
    headed = [
        entry.plan
        for entry in store.list_plans(record.id)
        if entry.plan.definition["plan"]["structure"]["route"] == "premodel"
        and "heads" in entry.plan.definition["plan"].get("exits", {})
    ]
    assert headed
    for number, own in enumerate(headed[:2]):
        bundle = home / f"{number}.pyz"
        trimtab.export_plan(store, own.key, bundle)
        tested = subprocess.run(
            [sys.executable, str(bundle), "selftest"], capture_output=True, text=True, check=False
        )
        assert tested.returncode == 0, tested.stderr + tested.stdout
        plan = Plan.load(str(bundle))
        assert plan.point.exits.heads is not None
        routes = report_plan(store, own).routes
        assert sum(route.share for route in routes) == pytest.approx(1)
        for route in routes:
            for example in route.examples:
                image = Image.open(photos[example.rpartition("/")[2]])
                answer = plan.classify(np.asarray(image))
                assert (answer.entry, answer.stage) == (route.enter, route.stop)
                if route.heads in (0.0, 1.0):
                    assert (answer.by == "heads") == bool(route.heads)


def test_what_is_shown_input_by_input_is_what_the_plan_answers(done):
    assert_answers_give_the_stored_quality(*done)
