"""What a graph does first with its image, and what it is fed because of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported_models import half, in_front, int8_input, normalising, of_type, save, tensor
from onnx import ModelProto, TensorProto, helper
from sample_models import INPUT, activations, make_net, onnx_model, texture_images

from trimtab.variants import (
    derive_variant,
    find_contradictions,
    inspect_model,
    make_variant,
    open_view,
    quantisable,
    quantise_w8a8,
)
from trimtab_runtime.definitions.plan import Quantisation, RuntimeOptions
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor

IMAGES, LABELS = texture_images(40, seed=3)
LOGITS = activations(make_net(), IMAGES)[3]
#: The sample network takes (pixel - 127.5) / 127.5.
PIXELS, UNIT = (127.5, 127.5), (0.5, 0.5)


def answers(path: Path, said: dict[str, Any]) -> Any:
    variant = make_variant(path, inspect_model(path), said, {}, "m")
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    return np.stack([engine.run(Preprocessor(i).tensor(variant.input)) for i in IMAGES])


def opened(tmp_path: Path, model: ModelProto) -> Path:
    return open_view(save(tmp_path / "source.onnx", model), tmp_path / "view").path


@pytest.mark.parametrize("how", ["initialisers", "constants", "transpose", "reshape"])
def test_a_symmetric_int8_input_is_asked_for_and_then_right(tmp_path: Path, how: str) -> None:
    """Values of 0..1 in steps of 1/127, wherever scale and zero point stand."""
    path = opened(tmp_path, int8_input(normalising(onnx_model(), *UNIT), 1 / 127, 0, how))
    facts = inspect_model(path)
    assert facts.input_quantisation == Quantisation(float(np.float32(1 / 127)), 0)
    with pytest.raises(ModelError, match=r"may stand for .* several kinds; give the input.mean"):
        make_variant(path, facts, {}, {}, "m")
    found = answers(path, {"mean": 0, "std": 255})
    assert np.abs(found - LOGITS).mean() < 0.05 * np.abs(LOGITS).mean()
    assert quantisable(facts)


@pytest.mark.parametrize(
    ("kind", "scale", "zero", "inside"),
    [
        (np.int8, 1 / 255, -128, UNIT),
        (np.uint8, 1 / 255, 0, UNIT),
        (np.uint8, 2 / 255, 128, (0.0, 1.0)),
        (np.uint8, 1.0, 0, PIXELS),
    ],
)
def test_a_range_that_is_covered_evenly_takes_raw_pixels(
    tmp_path: Path, kind: Any, scale: float, zero: int, inside: tuple[float, float]
) -> None:
    path = opened(
        tmp_path, int8_input(normalising(onnx_model(), *inside), scale, zero, "constants", kind)
    )
    found = answers(path, {})
    assert np.abs(found - LOGITS).mean() < 0.05 * np.abs(LOGITS).mean()


def test_a_quantised_input_in_front_of_float_layers_can_be_quantised(tmp_path: Path) -> None:
    path = opened(
        tmp_path, int8_input(normalising(onnx_model(), *UNIT), 1 / 255, 0, "constants", np.uint8)
    )
    variant = make_variant(path, inspect_model(path), {}, {}, "m")
    made = quantise_w8a8(path, variant, list(IMAGES), tmp_path / "q.onnx")
    assert not quantisable(made)
    found = answers(made, {})
    assert (found.argmax(1) == LABELS).mean() >= (LOGITS.argmax(1) == LABELS).mean() - 0.1


def test_an_input_that_is_rounded_to_bytes_leaves_its_layers_float(tmp_path: Path) -> None:
    """A pair of Quantize- and DequantizeLinear at the input alone, as some training leaves."""
    model = onnx_model()
    tensor(model, "step", np.float32(2 / 255))
    tensor(model, "middle", np.uint8(128))
    model.graph.node[0].input[0] = "real"
    pair = [("QuantizeLinear", "image", "bytes"), ("DequantizeLinear", "bytes", "real")]
    nodes = [helper.make_node(op, [x, "step", "middle"], [y], name=y) for op, x, y in pair]
    path = opened(tmp_path, in_front(model, nodes))
    assert inspect_model(path).quantised_layers == 0
    variant = make_variant(path, inspect_model(path), INPUT, {}, "m")
    made = quantise_w8a8(path, variant, list(IMAGES), tmp_path / "q.onnx")
    assert inspect_model(made).quantised_layers == 3
    assert "it is quantised already" in quantisable(made).reason
    found = answers(made, INPUT)
    assert (found.argmax(1) == LABELS).mean() >= (LOGITS.argmax(1) == LABELS).mean() - 0.1


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_a_graph_that_normalises_pixels_is_fed_pixels(tmp_path: Path, kind: int) -> None:
    model = normalising(onnx_model(), *PIXELS)
    path = opened(tmp_path, of_type(model, kind) if kind != TensorProto.FLOAT else model)
    facts = inspect_model(path)
    assert facts.normalised_inside == ((127.5,), (127.5,))
    variant = make_variant(path, facts, {}, {}, "m")
    assert (variant.input.mean, variant.input.std) == ((0.0,), (1.0,))
    assert np.allclose(answers(path, {}), LOGITS, atol=1e-3)
    assert quantisable(facts)


def test_a_graph_that_normalises_values_is_fed_values(tmp_path: Path) -> None:
    path = opened(tmp_path, normalising(onnx_model(), *UNIT))
    variant = make_variant(path, inspect_model(path), {}, {}, "m")
    assert (variant.input.mean, variant.input.std) == ((0.0,), (255.0,))
    assert np.allclose(answers(path, {}), LOGITS, atol=1e-3)


@pytest.mark.parametrize(
    ("mean", "std", "fed"),
    [
        (127.5, 127.5, (0.0, 1.0)),
        ([104.0, 117.0, 123.0], 1.0, (0.0, 1.0)),  # Caffe's, which divides by nothing
        (0.0, 255.0, (0.0, 1.0)),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], (0.0, 255.0)),
        (-1.0, 1 / 127.5, (127.5, 127.5)),  # values of -1..1 made pixels again
    ],
)
def test_a_graph_is_fed_what_its_normalisation_is_of(
    tmp_path: Path, mean: Any, std: Any, fed: tuple[float, float]
) -> None:
    path = opened(tmp_path, normalising(onnx_model(), mean, std))
    found = make_variant(path, inspect_model(path), {}, {}, "m").input
    assert (found.mean, found.std) == ((fed[0],), (fed[1],))


def test_a_limit_in_front_of_the_normalisation_is_none_of_it(tmp_path: Path) -> None:
    model = normalising(onnx_model(), *PIXELS)
    tensor(model, "low", np.float32(0))
    tensor(model, "high", np.float32(255))
    model.graph.node[0].input[0] = "limited"
    node = helper.make_node("Clip", ["image", "low", "high"], ["limited"], name="limit")
    path = opened(tmp_path, in_front(model, [node]))
    assert inspect_model(path).normalised_inside == ((127.5,), (127.5,))
    assert np.allclose(answers(path, {}), LOGITS, atol=1e-3)


@pytest.mark.parametrize(("mean", "inside"), [(0.45, True), (0.01, False)])
def test_a_first_layer_of_normalised_images_is_no_normalisation(
    tmp_path: Path, mean: float, inside: bool
) -> None:
    """A BatchNormalization that has seen means of about 0 stands behind a normalisation."""
    model = onnx_model()
    for name, value in (("scale", 1.1), ("bias", 0.1), ("mean", mean), ("variance", 0.05)):
        tensor(model, name, np.full(3, value, np.float32))
    model.graph.node[0].input[0] = "normal"
    names = ["image", "scale", "bias", "mean", "variance"]
    node = helper.make_node("BatchNormalization", names, ["normal"], name="normal")
    facts = inspect_model(opened(tmp_path, in_front(model, [node])))
    assert (facts.normalised_inside is not None) == inside


def test_bytes_that_a_graph_normalises_are_no_contradiction(tmp_path: Path) -> None:
    path = opened(tmp_path, of_type(normalising(onnx_model(), 2.0, 4.0), TensorProto.UINT8))
    facts = inspect_model(path)
    assert facts.normalised_inside == ((2.0,), (4.0,))
    fed = make_variant(path, facts, {}, {}, "m").input
    assert (fed.mean, fed.std) == ((0.0,), (1.0,))
    assert find_contradictions(facts, fed, {}) == []


def test_normalisation_a_channel_and_in_several_steps(tmp_path: Path) -> None:
    """x / 255, then (x - mean) / std, as Mul and Add: pixels of 0..255 go in."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    model = onnx_model()
    tensor(model, "by", np.float32(1 / 255))
    tensor(model, "factor", (1 / std).reshape(3, 1, 1).astype(np.float32))
    tensor(model, "shift", (-mean / std).reshape(3, 1, 1).astype(np.float32))
    model.graph.node[0].input[0] = "c"
    steps = [("Mul", "image", "by", "a"), ("Mul", "a", "factor", "b"), ("Add", "b", "shift", "c")]
    in_front(model, [helper.make_node(op, [x, y], [z], name=z) for op, x, y, z in steps])
    inside = inspect_model(opened(tmp_path, model)).normalised_inside
    assert inside is not None
    assert np.allclose(inside[0], mean * 255, rtol=1e-4)
    assert np.allclose(inside[1], std * 255, rtol=1e-4)


def test_what_is_no_normalisation_is_none(tmp_path: Path) -> None:
    assert inspect_model(opened(tmp_path, onnx_model())).normalised_inside is None
    model = onnx_model()
    model.graph.node[0].input[0] = "double"
    in_front(model, [helper.make_node("Add", ["image", "image"], ["double"], name="d")])
    assert inspect_model(opened(tmp_path, model)).normalised_inside is None


def test_a_normalisation_that_is_said_as_well_is_used_and_told(tmp_path: Path) -> None:
    path = opened(tmp_path, normalising(onnx_model(), *PIXELS))
    facts = inspect_model(path)
    fed = make_variant(path, facts, INPUT, {}, "m").input
    assert fed.mean == (127.5,)
    (told,) = find_contradictions(facts, fed, {})
    assert "the graph itself takes off 127.5 and divides by 127.5" in told
    for said in ({}, {"mean": 0, "std": [1, 1, 1]}, {"values": "0..255"}):
        assert find_contradictions(facts, make_variant(path, facts, said, {}, "m").input, {}) == []


def test_values_of_0_to_1_that_are_said_in_either_way_are_no_contradiction(tmp_path: Path) -> None:
    path = opened(tmp_path, normalising(onnx_model(), *UNIT))
    facts = inspect_model(path)
    for said in ({}, {"values": "0..1"}, {"mean": 0, "std": 255}):
        assert find_contradictions(facts, make_variant(path, facts, said, {}, "m").input, {}) == []


def test_a_half_precision_graph_is_quantised_in_float32(tmp_path: Path) -> None:
    source = opened(tmp_path, half(onnx_model()))
    variant = make_variant(source, inspect_model(source), INPUT, {}, "m")
    made = quantise_w8a8(source, variant, list(IMAGES), tmp_path / "q.onnx")
    assert derive_variant(made, variant, "w8a8").input == variant.input
    graph = onnx.load(made).graph
    assert not [t for t in graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert [n.op_type for n in graph.node].count("Cast") == 1
    found = answers(made, INPUT)
    assert (found.argmax(1) == LABELS).mean() >= (LOGITS.argmax(1) == LABELS).mean() - 0.1


def test_a_half_precision_graph_gets_its_normalisation(tmp_path: Path) -> None:
    path = opened(tmp_path, half(onnx_model()))
    with pytest.raises(ModelError, match="does not tell how its float input is normalised"):
        answers(path, {})
    assert np.allclose(answers(path, INPUT), LOGITS, atol=0.05)
