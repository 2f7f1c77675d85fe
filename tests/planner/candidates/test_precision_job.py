"""A network that collapses in int8: told with the blocks at fault, not tried again, and mended by
mixed precision."""

import pytest
from killing import SETTINGS
from sample_models import INPUT, make_net, uneven, write_onnx, write_photos

import trimtab
from trimtab.db import Store
from trimtab.planner.jobs.lookup import find_plan
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.plan.report import report_plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory, machine):
    folder = tmp_path_factory.mktemp("precision")
    write_onnx(folder / "net.onnx", net=uneven(make_net()))
    write_photos(folder / "photos", 64)
    spec = {
        "name": "precision",
        "models": [{"path": str(folder / "net.onnx"), "input": INPUT}],
        "workload": {
            "images": str(folder / "photos"),
            "splits": {"fit": 24, "tune": 20, "test": 20},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": ["w8a8", "w8a8-mixed", "w8"]},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 8},
        "verify": 1,
    }
    with Store.open(folder / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")
        yield store, record


def test_a_collapsed_variant_is_named_with_the_blocks_at_fault(done):
    store, record = done
    reasons = [c.reason for c in store.list_candidates(record.id) if c.state == "failed"]
    (collapsed,) = [text for text in reasons if text.startswith("collapsed")]
    assert "Worst when quantised alone" in collapsed and "Conv_2" in collapsed
    assert "w8a8-mixed" in collapsed
    others = [text for text in reasons if text != collapsed]
    assert others and all(text.startswith("not tried: w8a8 of it collapsed") for text in others)


def test_the_mixed_variant_takes_its_place_and_says_what_stayed_float(done):
    store, record = done
    plans = store.list_plans(record.id)
    names = {s["variant"]["name"] for p in plans for s in p.plan.definition["stages"]}
    assert names == {"net", "net w8a8-mixed"}
    mixed = next(
        p
        for p in plans
        if "net w8a8-mixed" in str([s["name"] for s in p.plan.definition["stages"]])
    )
    stages = report_plan(store, find_plan(store, mixed.plan.key)).stages
    told = "\n".join(line for stage in stages for line in stage.lineage)
    assert "in float: " in told and "instead of" in told
    assert "ms alone" in told and "ms in float" in told
    assert front_view(store, record).chosen


def test_a_scheme_that_does_not_apply_says_why(done):
    store, record = done
    notes = [event.text for event in store.list_events(record.id)]
    assert any("w8 does not apply: it has 1 matrix products" in text for text in notes)
