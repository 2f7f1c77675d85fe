"""396 good parts and 4 scratched ones: a network that always says 'good' is not chosen unseen."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

import trimtab
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.notes import front_notes
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
RAW = {"mean": 0, "std": 255}


def write_network(path, weight, bias, work=0):
    """Logits of the mean colour of a 32 x 32 image; `work` convolutions before take time."""
    nodes, last = [], "image"
    constants = {
        "w": np.array(weight, np.float32),
        "b": np.array(bias, np.float32),
        "same": np.eye(3, dtype=np.float32)[:, :, None, None],
    }
    for number in range(work):
        nodes.append(helper.make_node("Conv", [last, "same"], [f"c{number}"]))
        last = f"c{number}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scratched parts are red, good ones grey; `able` sees it, `lazy` says 'good' always."""
    folder = tmp_path_factory.mktemp("inspection")
    write_network(folder / "able.onnx", [[-30, 30], [30, -30], [0, 0]], [3, -3], work=12)
    write_network(folder / "lazy.onnx", [[0, 0], [0, 0], [0, 0]], [20, 0])
    generator = np.random.default_rng(0)
    for kind, count, red in (("good", 396, 0), ("scratch", 4, 80)):
        (folder / "images" / kind).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(60, 160, (32, 32, 3))
            pixels[..., 0] += red
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / "images" / kind / f"{number:03}.png")
    return folder


def job(folder, metric, models=("able", "lazy")):
    return {
        "name": metric,
        "models": [{"path": str(folder / f"{name}.onnx"), "input": RAW} for name in models],
        "workload": {"images": str(folder / "images")},
        "objectives": {metric: "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False, "quantisation": False},
        "runtime": {"threads": 1},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 0,
    }


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["top1", "balanced_accuracy"])
def test_it_is_not_chosen_where_another_knows_the_rare_class(
    folder, metric, tmp_path, monkeypatch, machine
):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(
            job(folder, metric), store, settings=QUICK, device=machine, setup="ignored"
        )
        view = front_view(store, record)
        told = [e for e in store.list_events(record.id) if e.subject == "workload"]
    chosen = view.row(view.chosen)
    assert chosen is not None
    assert chosen.short.startswith("able")
    assert chosen.cautions == ()
    counted = [e.text for e in told if e.level == "info"]
    assert counted == ["400 images in 2 classes: good 396, scratch 4"]
    warned = [e.text for e in told if e.level == "warning" and "uneven" in e.text]
    assert len(warned) == (1 if metric == "top1" else 0)


@pytest.mark.slow
def test_where_there_is_no_other_it_is_said(folder, tmp_path, monkeypatch, machine):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(
            job(folder, "top1", ("lazy",)), store, settings=QUICK, device=machine, setup="ignored"
        )
        view = front_view(store, record)
        events = [event.text for event in store.list_events(record.id)]
    chosen = view.row(view.chosen)
    assert chosen is not None
    (caution,) = chosen.cautions
    assert caution.startswith("it answers 'good' to every image; it never answers 1 of 2 classes")
    assert "(scratch; " in caution
    assert caution in events
    assert any(caution in line for line in front_notes(view, 1))
