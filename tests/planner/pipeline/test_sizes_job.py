"""A job that may use smaller images: they are candidates, stand in plans, and their weights lie in
a bundle once."""

import zipfile

import pytest
from killing import SETTINGS
from sample_models import INPUT, write_onnx, write_photos
from sample_tflite import write_tflite

import trimtab
from trimtab.db import Store
from trimtab.planner.bundles.export import export_plan
from trimtab.planner.jobs.lookup import find_plan
from trimtab.planner.reports.plan.report import report_plan
from trimtab.search.candidates.candidate import VariantForm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory, machine):
    folder = tmp_path_factory.mktemp("sizes")
    write_onnx(folder / "net.onnx", width=32)
    write_tflite(folder / "other.tflite", 2)
    write_photos(folder / "photos", 80)
    models = [
        {"path": str(folder / "net.onnx"), "input": INPUT, "sizes": [28, 24, 6]},
        {"path": str(folder / "other.tflite"), "input": INPUT, "sizes": True},
    ]
    spec = {
        "name": "sizes",
        "models": models,
        "workload": {
            "images": str(folder / "photos"),
            "splits": {"fit": 24, "tune": 28, "test": 28},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 9},
        "verify": 1,
    }
    with Store.open(folder / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")
        yield store, record, folder


def test_smaller_images_are_measured_float_and_quantised(done):
    store, record, _ = done
    labels = {c.options["label"] for c in store.list_candidates(record.id)}
    assert {"net 28px 1t", "net 24px 1t", "net 28px w8a8 1t"} <= labels
    forms = [v.recipe for v in store.list_variants() if v.recipe.get("size") == [24, 24]]
    assert forms and all(recipe["step"] == "other input size" for recipe in forms)


def test_what_cannot_be_resized_says_why(done):
    store, record, _ = done
    notes = [event.text for event in store.list_events(record.id)]
    assert any("cannot take images of 6 pixels" in text for text in notes)
    assert any("only ONNX graphs are made for others" in text for text in notes)


def test_plans_with_sizes_are_explained_and_exported(done):
    store, record, folder = done
    sized = [
        plan
        for plan in store.list_plans(record.id)
        if "px" in str([s["variant"]["name"] for s in plan.plan.definition["stages"]])
    ]
    assert sized
    report = report_plan(store, find_plan(store, sized[0].plan.key))
    told = "\n".join(line for stage in report.stages for line in stage.lineage)
    assert "other input size of net (size [" in told
    bundle = export_plan(store, sized[0].plan.key, folder / "plan.pyz")
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None


def test_forms_of_sizes_are_read_as_they_are_written():
    for text in ("24px", "24x28px w8a8", "slim1 24px w8a8-mixed"):
        assert VariantForm.parse(text).text == text
    assert VariantForm.parse("24px w8a8").parent == VariantForm.parse("24px")
    assert VariantForm.parse("slim1 24px").parent == VariantForm.parse("slim1")
