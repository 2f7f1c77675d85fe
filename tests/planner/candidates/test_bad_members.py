"""A job over two good members and many bad ones: the good ones make the front, each bad one is a
recorded failure with its reason, and nothing that was measured is lost or measured again."""

from pathlib import Path

import numpy as np
import pytest
from bad_models import endless_model, greedy_model, nan_model, write_model
from PIL import Image
from sample_models import INPUT, write_onnx, write_photos
from sample_tflite import write_tflite

import trimtab
from trimtab.planner.jobs.dataset import load_dataset
from trimtab_runtime.probe.requests import MeasureSettings

pytestmark = pytest.mark.slow

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)

#: What is told of members that are found bad when they are read ...
READ = {
    "cut": r"models[2]: cut.onnx: damaged or no ONNX file",
    "halved": r"models[3]: halved.tflite: LiteRT cannot load it",
    "narrow": r"models[4]: the model has 3 classes, the labels have 4",
    "hung": r"models[5]: hung.onnx: gave no answer within 20 s",
    "starved": r"models[6]: starved.onnx: onnxruntime cannot run it on an input (1, 3, 32, 32): "
    r"too little memory; take a smaller model",
    "Net": r"models[10]: gone:Net: the process that exported it died of status 3",
}
#: ... and of candidates that fail when they are measured or traced.
MEASURED = {
    "endless 1t": "no sign of life for 20 s",
    "greedy 1t": "too little memory; take a smaller model or input size, or free memory",
    "dark 1t": "gave NaN or infinity for ",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    write_photos(folder / "photos", 60)
    large = write_onnx(folder / "large.onnx", width=16)
    write_onnx(folder / "small.onnx", width=2)
    (folder / "cut.onnx").write_bytes(large.read_bytes()[:-100])
    lite = write_tflite(folder / "lite.tflite", width=8).read_bytes()
    (folder / "halved.tflite").write_bytes(lite[: len(lite) // 2])
    write_onnx(folder / "narrow.onnx", width=4)
    write_model(endless_model(), folder / "hung.onnx")
    write_model(greedy_model(), folder / "starved.onnx")
    write_model(endless_model(on_photos=True), folder / "endless.onnx")
    write_model(greedy_model(on_photos=True), folder / "greedy.onnx")
    return folder


def job(zoo, names):
    return {
        "name": "bad members",
        "models": [{"path": str(zoo / name), "input": INPUT} for name in names],
        "workload": {"images": str(zoo / "photos"), "splits": {"fit": 20, "tune": 20, "test": 20}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "techniques": {"quantisation": []},
        "budget": {"measurements": 4, "stall_seconds": 20},
        "together": 3,
        "verify": 0,
    }


def darkest_outside_tune(spec):
    """A split seed with which a darker image than all of tune stands elsewhere, and a mean (in
    [-1, 1]) between: what measures the images of tune does not meet it, tracing does."""
    for seed in range(20):
        spec["workload"]["splits"]["seed"] = seed
        workload, splits = load_dataset(trimtab.load_spec(spec))
        means = np.array([np.asarray(Image.open(i.path)).mean() for i in workload.items])
        in_tune = means[splits.tune].min()
        elsewhere = means[np.concatenate([splits.fit, splits.test])].min()
        if elsewhere < in_tune - 1:
            return ((elsewhere + in_tune) / 2 - 127.5) / 127.5
    raise AssertionError("no seed will do")


def test_every_bad_member_is_a_recorded_failure(zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    names = ["small.onnx", "large.onnx", "cut.onnx", "halved.tflite", "narrow.onnx", "hung.onnx"]
    names += ["starved.onnx", "endless.onnx", "greedy.onnx", "dark.onnx"]
    spec = job(zoo, names)
    spec["models"][3] = {"path": str(zoo / "halved.tflite")}
    spec["models"][4]["output"] = {"offset": 1}
    (zoo / "gone.py").write_text("import os\n\n\ndef Net():\n    os._exit(3)\n")
    gone = {"entry": "gone:Net", "folder": str(zoo)}
    spec["models"].append({"torch": gone, "input": {"size": 32}})
    write_model(nan_model(above=darkest_outside_tune(spec)), zoo / "dark.onnx")
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=QUICK, setup="ignored")
        assert record.state == "done"
        _check_failures(store, record)
        labels = {entry.plan.label for entry in store.list_plans(record.id)}
        assert {"small 1t", "large 1t"} <= labels
        assert not any(bad in label for label in labels for bad in ("endless", "greedy", "dark"))
        assert any(entry.plan.is_chosen for entry in store.list_plans(record.id))
        before = store.list_measurements(state="ok"), store.list_traces()
        again = trimtab.plan(spec, store, settings=QUICK, setup="ignored")
        assert (again.id, again.state) == (record.id, "done")
        assert again.summary["chosen"] == record.summary["chosen"]
        assert store.list_measurements(state="ok") == before[0]
        assert [t for t in store.list_traces() if t.artefact_sha256] == [
            t for t in before[1] if t.artefact_sha256
        ]


def reasons(store, record):
    failed = store.list_candidates(record.id, state="failed")
    return {candidate.options["label"]: candidate.reason for candidate in failed}


def test_nothing_is_built_from_a_member_that_cannot_run(zoo, tmp_path, monkeypatch):
    """Quantising runs the member in this very process, where it would hang for good."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    spec = job(zoo, ["endless.onnx", "small.onnx"])
    spec["techniques"] = {"quantisation": ["w8a8"]}
    spec["budget"]["measurements"] = 3
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=QUICK, setup="ignored")
        failed = {
            c.options["label"]: c.reason for c in store.list_candidates(record.id, state="failed")
        }
        assert failed["endless w8a8 1t"] == "not tried: the original endless could not be measured"
        assert record.summary["candidates"] == 3


def _check_failures(store, record):
    told = {}
    for event in store.list_events(record.id):
        if event.level == "error":
            told[event.subject] = event.text
    for subject, text in {**READ, **MEASURED}.items():
        assert text in told[subject], subject
    failed = {
        c.options["label"]: c.reason for c in store.list_candidates(record.id, state="failed")
    }
    for label, text in MEASURED.items():
        assert text in failed[label]
    assert Path(told["dark 1t"].rpartition(" ")[2]).is_file(), "the image is named"
    others = set(failed) - set(MEASURED)
    assert all("could not be measured" in failed[label] for label in others)
    assert len(store.list_measurements(state="ok")) >= 2
    assert {m.state for m in store.list_measurements()} == {"ok", "failed"}
