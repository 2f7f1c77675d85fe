"""Jobs over members as exporters leave them: each is taken, read and quantised, and what was done
to it is told."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_models import (
    half,
    in_functions,
    int8_input,
    nameless,
    normalising,
    one_score,
    open_axes,
    save,
)
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sample_models import INPUT, onnx_model, texture_images, write_photos
from typer.testing import CliRunner

import trimtab
from trimtab.planner.cache import keys
from trimtab.planner.cache.views import ViewCache
from trimtab.planner.candidates.class_groups import with_job_classes
from trimtab.planner.candidates.exported import compared, exported_member
from trimtab.planner.cli.app import app
from trimtab.planner.specification.sections import ModelSpec, OutputSpec
from trimtab.profilers.testing import OlderEngineDevice
from trimtab.variants import Wishes, inspect_model, make_variant
from trimtab.workloads import read_workload
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)


def job(folder, models, **changes):
    return {
        "name": "as exporters leave them",
        "models": models,
        "workload": {"images": str(folder), "splits": {"fit": 20, "tune": 20, "test": 20}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "techniques": {"quantisation": ["w8a8"], "cascade": False},
        "budget": {"measurements": 20},
        "verify": 1,
        **changes,
    }


def two_outputs():
    model = onnx_model(width=16)
    model.graph.output.insert(
        0, helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 32])
    )
    return model


def external(path, model):
    onnx.save(
        model, str(path), save_as_external_data=True, location="weights.data", size_threshold=0
    )
    return path


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """One network, left in many ways."""
    folder = tmp_path_factory.mktemp("zoo")
    write_photos(folder / "photos", 60)
    made = {
        "nameless": nameless(onnx_model(width=16)),
        "functions": in_functions(onnx_model(width=16)),
        "open": open_axes(onnx_model(width=16), ["batch", "channels", "height", "width"]),
        "outputs": two_outputs(),
        "half": half(onnx_model(width=16)),
        "int8": int8_input(normalising(onnx_model(width=16), 0.5, 0.5), 1 / 127, 0, "constants"),
        "inside": normalising(onnx_model(width=16), 127.5, 127.5),
    }
    for name, model in made.items():
        save(folder / f"{name}.onnx", model)
    external(folder / "beside.onnx", onnx_model(width=16))
    return folder


def member(zoo, name, **said):
    return {"path": str(zoo / f"{name}.onnx"), **said}


@pytest.mark.slow
def test_all_are_taken_with_one_accuracy(zoo, tmp_path, monkeypatch, machine):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    models = [
        member(zoo, "functions", input=INPUT),
        member(zoo, "open", input={**INPUT, "size": 32}),
        member(zoo, "outputs", input=INPUT),
        member(zoo, "half", input=INPUT),
        member(zoo, "int8", input={"mean": 0, "std": 255}),
    ]
    names = {Path(each["path"]).stem for each in models}
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(
            job(zoo / "photos", models), store, settings=QUICK, device=machine, setup="ignored"
        )
        assert record.state == "done"
        assert store.list_candidates(record.id, state="failed") == []
        told = {}
        for event in store.list_events(record.id):
            told.setdefault(event.subject, []).append(event.text)
        assert any("'logits' (1 x 4 float32) is taken" in text for text in told["outputs"])
        assert any("3 in nchw go through" in text for text in told["open"])
        variants = [v for v in store.list_variants() if v.state == "ok"]
        assert {v.member for v in variants if v.recipe["step"] == "w8a8"} == names
        sources = {v.member: v.recipe["sha256"] for v in variants if v.recipe["step"] == "member"}
        assert sources == {
            name: sha256((zoo / f"{name}.onnx").read_bytes()).hexdigest() for name in names
        }


def views_in(store):
    return [variant for variant in store.list_variants() if variant.format == "view"]


def test_a_view_is_made_once(zoo, tmp_path):
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        cache = ViewCache(store)
        made = cache.open(zoo / "functions.onnx", Wishes(), tmp_path / "first", 60)
        (kept,) = views_in(store)
        found = cache.open(zoo / "functions.onnx", Wishes(), tmp_path / "second", 60)
        assert views_in(store) == [kept]
        assert found.path.read_bytes() == made.path.read_bytes()
        assert (found.source_sha256, found.notes) == (made.source_sha256, made.notes)
        cache.open(zoo / "functions.onnx", Wishes(classes=4), tmp_path / "third", 60)
        assert len(views_in(store)) == 2
        assert store.unreferenced().leftovers == []
        store.artefacts.path(kept.artefact_sha256).unlink()
        again = cache.open(zoo / "functions.onnx", Wishes(), tmp_path / "fourth", 60)
        assert again.path.read_bytes() == made.path.read_bytes()


def test_another_version_of_opening_files_makes_it_anew(zoo, tmp_path, monkeypatch):
    """Which model it is stays the same, and so does what was measured of an equal view."""
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        made = ViewCache(store).open(zoo / "functions.onnx", Wishes(), tmp_path / "first", 60)
        (old,) = views_in(store)
        monkeypatch.setattr(keys, "VIEW_VERSION", keys.VIEW_VERSION + 1)
        found = ViewCache(store).open(zoo / "functions.onnx", Wishes(), tmp_path / "second", 60)
        new = next(view for view in views_in(store) if view.key != old.key)
        assert new.recipe["source_sha256"] == old.recipe["source_sha256"]
        assert found.source_sha256 == made.source_sha256
        assert found.path.read_bytes() == made.path.read_bytes()


def newer(path, opset):
    """A network whose opset is newer than that of older engines."""
    model = onnx_model(width=16)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", opset)])
    model.ir_version = 11
    return save(path, model)


def test_a_file_too_new_for_the_device_is_lowered(tmp_path):
    path = newer(tmp_path / "newer.onnx", 22)
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        device = OlderEngineDevice("1.19.2", ir_version=10, opset=21)
        found = ViewCache(store, device, "1.19.2").open(path, Wishes(), tmp_path / "older", 60)
        model = onnx.load(str(found.path))
        assert (model.ir_version, model.opset_import[0].version) == (10, 21)
        assert found.notes == (
            "its IR version 11 is lowered to 10, the newest of the device's onnxruntime 1.19.2",
            "its opset 22 is converted to 21, the newest of the device's onnxruntime 1.19.2",
        )
        assert found.source_sha256 == sha256(path.read_bytes()).hexdigest()
        image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
        answers = [
            onnxruntime.InferenceSession(str(each)).run(None, {"image": image})[0]
            for each in (path, found.path)
        ]
        assert answers[0].tobytes() == answers[1].tobytes()
        same = OlderEngineDevice(onnxruntime.__version__, ir_version=10, opset=21)
        for cache in (ViewCache(store), ViewCache(store, same)):
            assert cache.open(path, Wishes(), tmp_path / "here", 60).path == path


def test_a_file_that_cannot_be_lowered_tells_both_versions(tmp_path):
    path = newer(tmp_path / "newer.onnx", 22)
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        device = OlderEngineDevice("1.2.0", ir_version=11, opset=5)
        with pytest.raises(ModelError, match=r"opset 22, the device's onnxruntime 1.2.0 knows"):
            ViewCache(store, device, "1.2.0").open(path, Wishes(), tmp_path / "older", 60)


@pytest.mark.slow
def test_one_score_for_two_folders(tmp_path, monkeypatch, machine):
    """Class 2 against the others: `rest` comes first, so that `two` is what the score tells."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    images, labels = texture_images(60, 5)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "photos" / ("two" if label == 2 else "rest")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    models = []
    for name, sigmoid in (("logit", False), ("sigmoid", True)):
        path = save(tmp_path / f"{name}.onnx", one_score(onnx_model(16), 2, sigmoid))
        models.append({"path": str(path), "input": INPUT, "output": {"kind": "binary"}})
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(
            job(tmp_path / "photos", models),
            store,
            settings=QUICK,
            device=machine,
            setup="ignored",
        )
        assert record.state == "done"
        assert record.summary["chosen"]
        plans = [e.plan for e in store.list_plans(record.id) if e.plan.is_chosen]
        assert plans
        traces = [t for t in store.list_traces() if t.artefact_sha256]
        assert traces
        loaded = np.load(store.artefacts.path(traces[0].artefact_sha256))
        outputs = next(loaded[name] for name in loaded.files if loaded[name].ndim == 2)
        assert outputs.shape[1] == 2


@pytest.mark.slow
def test_what_cannot_be_quantised_fails_once_a_job(tmp_path, monkeypatch, machine):
    """Its one MatMul multiplies whole numbers, which no scheme of ours quantises."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos", 60)
    weights = np.random.default_rng(0).integers(-9, 10, (3 * 32 * 32, 4), np.int32)
    nodes = [
        helper.make_node("Cast", ["image"], ["whole"], to=TensorProto.INT32, name="cast"),
        helper.make_node("Flatten", ["whole"], ["flat"], name="flat"),
        helper.make_node("MatMul", ["flat", "weights"], ["product"], name="product"),
        helper.make_node("Cast", ["product"], ["scores"], to=TensorProto.FLOAT, name="back"),
    ]
    graph = helper.make_graph(
        nodes,
        "whole",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = save(tmp_path / "whole.onnx", model)
    spec = job(tmp_path / "photos", [{"path": str(path)}], verify=0)
    spec["runtime"] = {"threads": [1, 2]}  # two candidates want the variant
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=QUICK, device=machine, setup="ignored")
        events = [e for e in store.list_events(record.id) if e.text == "building w8a8"]
        assert len(events) == 1
        (failed,) = [v for v in store.list_variants() if v.state == "failed"]
        assert "could be quantised" in failed.reason


def test_a_score_of_the_first_class_is_turned_by_naming_the_models_order(tmp_path):
    images, _ = texture_images(12, 5)
    path = save(tmp_path / "score.onnx", one_score(onnx_model(16), 2))
    plain = make_variant(path, inspect_model(path), INPUT, {"kind": "binary"}, "m")
    said = OutputSpec(kind="binary", classes=("rest", "two"))
    turned, _ = with_job_classes(plain, 2, said, ["two", "rest"])
    found = []
    for variant in (plain, turned):
        engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
        found.append([engine.run(Preprocessor(i).tensor(variant.input)) for i in images])
    assert np.array_equal(np.array(found[0])[:, ::-1], found[1])
    assert len({row.argmax() for row in np.array(found[0])}) == 2


BRIGHT = """
import torch
from torch import nn


class Bright(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        scores = self.head(x.mean((2, 3)))
        return -scores if float(x.mean()) > 30 else scores
"""


def test_a_module_is_held_against_its_file_on_the_jobs_images(tmp_path):
    """No random image is as bright as pixels without normalisation, so that the exporter which
    follows one image leaves the branch out, and only real images tell."""
    (tmp_path / "nets.py").write_text(BRIGHT)
    write_photos(tmp_path / "photos", 8)
    said = {"size": 32, "mean": 0, "std": 1}
    torch = {"entry": "nets:Bright", "folder": str(tmp_path)}
    model = ModelSpec.model_validate({"torch": torch, "input": said})
    items = read_workload(tmp_path / "photos").items
    with exported_member(model, tmp_path) as exported:
        path = exported.path
        variant = make_variant(path, inspect_model(path), said, {}, "bright")
        assert any("the older one is used" in text for text in exported.notes)
        with pytest.raises(ModelError, match=r"answers differently from the module.*of fit"):
            compared(exported, path, variant, items)
        notes = compared(exported, path, variant, ())
    assert [level for level, _ in notes] == ["warning"] * len(exported.notes)


def test_init_writes_what_the_files_tell(zoo, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, 12)
    for name in ("outputs", "inside", "int8"):
        (tmp_path / f"{name}.onnx").write_bytes((zoo / f"{name}.onnx").read_bytes())
    save(tmp_path / "score.onnx", one_score(onnx_model()))
    done = CliRunner().invoke(app, ["init", str(tmp_path), "-o", str(tmp_path / "job.yaml")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "job.yaml").read_text()
    assert "# of its outputs 'logits' (1 x 4 float32) is taken, not 'features'" in text
    assert "# No mean and std: the graph takes off 127.5 and divides by 127.5;" in text
    assert "# it is fed values of 0..255." in text
    assert "kind: binary  # GUESS:" in text
    assert "mean: 0  # GUESS:" in text
    models = {model.label: model for model in trimtab.load_spec(tmp_path / "job.yaml").models}
    assert models["inside"].input.mean is None
    assert models["int8"].input.std == 255
    assert models["score"].output.kind == "binary"


@pytest.mark.parametrize("name", ["nameless", "functions", "open", "half", "beside"])
def test_layers_tell_the_work_of_each(zoo, name):
    size = ["--size", "32"] if name == "open" else []
    arguments = ["layers", str(zoo / f"{name}.onnx"), "--runs", "3", "--format", "json", *size]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    macs = {each["operator"]: each["multiply_accumulates"] for each in found["operators"]}
    # 3x3 kernels with stride 2 and no padding: 15x15 places of 3 -> 16, then 7x7 of 16 -> 32.
    assert sum(macs[key] or 0 for key in macs if "Conv" in key) == (
        15 * 15 * 16 * 3 * 9 + 7 * 7 * 32 * 16 * 9
    )
