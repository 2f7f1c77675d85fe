"""What a model takes: axes that are open, batches, types of numbers, several inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_models import (
    ends_with,
    half,
    in_front,
    of_type,
    open_axes,
    save,
    tensor,
)
from onnx import ModelProto, TensorProto, helper
from opened_models import IMAGES, LOGITS, answers, opened, variant_of
from sample_models import (
    CLASSES,
    INPUT,
    SIZE,
    activations,
    make_net,
    onnx_model,
)

from trimtab.variants import (
    inspect_model,
    operator_work,
    quantisable,
    usable_taps,
)
from trimtab_runtime.errors import ModelError

# ---- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [["batch", "channels", "height", "width"], [None] * 4])
def test_open_channels_are_those_of_the_first_convolution(tmp_path: Path, axes: Any) -> None:
    view = opened(tmp_path, open_axes(onnx_model(), axes))
    facts = inspect_model(view.path)
    assert (facts.layout, facts.channels, facts.input_size) == ("nchw", 3, None)
    assert "axis 2" in facts.open_axes
    assert "axis 3" in facts.open_axes
    assert any("3 in nchw go through" in note for note in view.notes)
    with pytest.raises(ModelError, match=r"axis 2.* and axis 3.*input: \{size: 224\}"):
        variant_of(view)


def test_open_gray_and_open_nhwc(tmp_path: Path) -> None:
    gray = opened(tmp_path, open_axes(onnx_model(channels=1), list("nchw")))
    assert inspect_model(gray.path).channels == 1
    nhwc = opened(tmp_path, open_axes(onnx_model(layout="nhwc"), list("nhwc")))
    facts = inspect_model(nhwc.path)
    assert (facts.layout, facts.channels) == ("nhwc", 3)


def position_model() -> ModelProto:
    """Patches of 8x8 as tokens with an embedding for each of 16 places: 32x32 alone goes
    through."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 0.1, (8, 3, 8, 8)),
        "positions": rng.normal(0, 1, (1, 8, 16)),
        "head": rng.normal(0, 1, (8, CLASSES)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[8, 8], name="p"),
        helper.make_node("Reshape", ["patches", "flat"], ["tokens"], name="r"),
        helper.make_node("Add", ["tokens", "positions"], ["placed"], name="a"),
        helper.make_node("ReduceMean", ["placed"], ["mean"], axes=[2], keepdims=0, name="m"),
        helper.make_node("MatMul", ["mean", "head"], ["logits"], name="h"),
    ]
    graph = helper.make_graph(
        nodes,
        "vit",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for name, values in weights.items():
        tensor(model, name, values.astype(np.float32))
    tensor(model, "flat", np.array([0, 8, -1]))
    return model


def test_position_embeddings_close_the_size(tmp_path: Path) -> None:
    view = opened(tmp_path, position_model())
    assert inspect_model(view.path).input_size == (32, 32)
    assert any("32x32 goes through" in note for note in view.notes)


def test_metadata_close_the_size(tmp_path: Path) -> None:
    model = open_axes(onnx_model(), list("nchw"))
    helper.set_model_props(model, {"imgsz": "[40, 48]"})
    assert inspect_model(opened(tmp_path, model).path).input_size == (40, 48)


def test_what_is_said_settles_channels_and_layout(tmp_path: Path) -> None:
    """A network of pooling takes any image; only what is said tells which axis is which."""
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["scores"], name="p")]
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    view = opened(tmp_path, model, size=(8, 8), layout="nchw", channels=3)
    facts = inspect_model(view.path, (8, 8))
    assert (facts.layout, facts.channels, facts.output_width) == ("nchw", 3, 3)


def test_a_size_that_is_said_folds_what_follows_from_it(tmp_path: Path) -> None:
    """Half the height, doubled again, as exporters write a shuffle of channels."""
    model = open_axes(onnx_model(), ["n", "c", "h", "w"])
    tensor(model, "two", np.array([2]))
    tensor(model, "height", np.array([2]))
    parts = [("before", 0, 2), ("behind", 3, 4)]
    nodes = [helper.make_node("Shape", ["relu1"], ["shape"], name="shape")]
    for name, start, end in parts:
        tensor(model, f"{name}_start", np.array([start]))
        tensor(model, f"{name}_end", np.array([end]))
        ends = [f"{name}_start", f"{name}_end"]
        nodes.append(helper.make_node("Slice", ["shape", *ends], [name], name=name))
    nodes += [
        helper.make_node("Gather", ["shape", "height"], ["h"], axis=0, name="h"),
        helper.make_node("Mul", ["h", "two"], ["doubled"], name="doubled"),
        helper.make_node("Div", ["doubled", "two"], ["halved"], name="halved"),
        helper.make_node("Concat", ["before", "halved", "behind"], ["all"], axis=0, name="all"),
        helper.make_node("Reshape", ["relu1", "all"], ["same"], name="same"),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(2, node)
    next(node for node in model.graph.node if node.output[0] == "conv2").input[0] = "same"
    view = opened(tmp_path, model, size=(SIZE, SIZE))
    facts = inspect_model(view.path)
    assert (facts.input_size, facts.dynamic_batch) == ((SIZE, SIZE), False)
    assert "Shape" not in dict(facts.operators)
    plain = save(tmp_path / "plain.onnx", onnx_model())
    assert [w.multiply_accumulates for w in operator_work(view.path, "onnx") if w.weights] == [
        w.multiply_accumulates for w in operator_work(plain, "onnx") if w.weights
    ]
    assert usable_taps(view.path)[0]
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_batch_of_eight_becomes_one(tmp_path: Path) -> None:
    model = onnx_model(batch=8)
    view = opened(tmp_path, model)
    assert view.notes == ("it takes batches of 8; one by one, images get the same answers",)
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_batch_of_four_in_any_size_becomes_one(tmp_path: Path) -> None:
    view = opened(tmp_path, open_axes(onnx_model(), [4, 3, "height", "width"]))
    assert view.notes[0] == "it takes batches of 4; one by one, images get the same answers"
    variant = variant_of(view, {**INPUT, "size": SIZE})
    assert np.allclose(answers(view.path, variant), LOGITS, atol=1e-4)


def test_a_batch_of_none_is_open(tmp_path: Path) -> None:
    view = opened(tmp_path, open_axes(onnx_model(), [0, 3, SIZE, SIZE]))
    assert view.notes == ("axis 0 of its input is of size 0 and taken as open",)
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


@pytest.mark.parametrize(("layout", "opset"), [("nchw", 17), ("nhwc", 17), ("nchw", 11)])
def test_an_image_without_an_axis_for_the_batch_gets_one(
    tmp_path: Path, layout: str, opset: int
) -> None:
    model = onnx_model(layout=layout)
    model.opset_import[0].version = opset
    shape = [3, SIZE, SIZE] if layout == "nchw" else [SIZE, SIZE, 3]
    model.graph.node[0].input[0] = "batch"
    tensor(model, "batched", np.array([1, *shape]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    view = opened(
        tmp_path, in_front(model, [helper.make_node("Reshape", ["image", "batched"], ["batch"])])
    )
    assert view.notes == ("its input has no axis for a batch; it gets one",)
    variant = variant_of(view)
    assert variant.input.layout == layout
    assert np.allclose(answers(view.path, variant), LOGITS, atol=1e-4)


def test_a_batch_that_its_images_share_stays(tmp_path: Path) -> None:
    """Answers that depend on the other images of the batch are no single image's."""
    model = onnx_model(batch=8)
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["logits"], ["all"], axes=[0], name="all"),
            helper.make_node("Sub", ["logits", "all"], ["scores"], name="centred"),
        ]
    )
    model.graph.output[0].name = "scores"
    view = opened(tmp_path, model)
    with pytest.raises(ModelError, match="takes batches of 8 images"):
        inspect_model(view.path)


# ---- inputs ------------------------------------------------------------------------------------


def test_half_precision_is_fed_as_it_asks(tmp_path: Path) -> None:
    view = opened(tmp_path, half(onnx_model()))
    assert view.notes == ()
    for dtype in (None, "float16"):
        variant = variant_of(view, {**INPUT, "dtype": dtype})
        assert variant.input.dtype == "float16"
    found = answers(view.path, variant)
    assert found.dtype == np.float32
    assert np.allclose(found, LOGITS, atol=0.05)
    assert quantisable(inspect_model(view.path))


@pytest.mark.parametrize(
    "kind", [TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT16]
)
def test_whole_numbers_are_fed_pixels(tmp_path: Path, kind: int) -> None:
    view = opened(tmp_path, of_type(onnx_model(), kind))
    variant = variant_of(view, {})
    assert (variant.input.dtype, variant.input.mean, variant.input.std) == ("uint8", (0,), (1,))
    pixels = IMAGES.astype(np.float32) * 127.5 + 127.5  # undoes what `activations` takes off
    assert np.allclose(
        answers(view.path, variant), activations(make_net(), pixels)[3], rtol=1e-3, atol=0.1
    )
    assert quantisable(inspect_model(view.path))


def test_bfloat16_is_refused_for_the_engines_reason_alone(tmp_path: Path) -> None:
    model = onnx_model()
    for weight in model.graph.initializer:
        weight.CopyFrom(
            helper.make_tensor(
                weight.name, TensorProto.BFLOAT16, weight.dims, [0.0] * int(np.prod(weight.dims))
            )
        )
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    with pytest.raises(ModelError) as refused:
        opened(tmp_path, model)
    text = str(refused.value)
    assert "Type 'tensor(bfloat16)' of input parameter (image) of operator (Conv)" in text
    assert "may be" not in text
    assert "cannot load it: " in text


# ---- several inputs ----------------------------------------------------------------------------


def test_an_input_that_nothing_reads_is_left_out(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("training", TensorProto.BOOL, [1]))
    view = opened(tmp_path, model)
    assert view.notes == ("its inputs 'training' are read by nothing and left out",)
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_second_input_that_is_read_is_refused(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [1, 4]))
    node = helper.make_node("Add", ["logits", "bias"], ["scores"], name="a")
    with pytest.raises(ModelError, match=r"reads 'image' \[1 x 3 x 32 x 32\], 'bias' \[1 x 4\]"):
        opened(tmp_path, ends_with(model, node, shape=[1, CLASSES]))
