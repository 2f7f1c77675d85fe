"""What is read from model files, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import CLASSES, make_net, onnx_model, write_onnx
from sample_tflite import write_tflite

from trimtab.variants import inspect_model, open_view
from trimtab.variants.files.doubts import find_doubts
from trimtab_runtime.definitions.plan import Quantisation
from trimtab_runtime.errors import ModelError


def save(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def one_node(
    op: str, input_shape: list[int | str], output_shape: list[int | str], **attributes: object
) -> onnx.ModelProto:
    """A graph of one operator from a float image to a float output."""
    domain = str(attributes.pop("domain", ""))
    node = helper.make_node(op, ["image"], ["scores"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, output_shape)],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_onnx_with_logits(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    facts = inspect_model(path)
    assert facts.format == "onnx"
    assert facts.size_bytes == path.stat().st_size
    assert facts.input_size == (32, 32)
    assert (facts.layout, facts.dtype, facts.channels) == ("nchw", "float32", 3)
    assert (facts.output_width, facts.output_kind) == (CLASSES, "logits")
    assert facts.input_quantisation is None
    assert facts.output_quantisation is None
    assert not facts.dynamic_batch
    assert dict(facts.operators)["Conv"] == 2


def test_onnx_variations(tmp_path: Path) -> None:
    base = inspect_model(write_onnx(tmp_path / "a.onnx"))
    softmax = inspect_model(write_onnx(tmp_path / "b.onnx", softmax=True))
    assert softmax.output_kind == "probabilities"
    nhwc = inspect_model(write_onnx(tmp_path / "c.onnx", layout="nhwc"))
    assert (nhwc.layout, nhwc.input_size) == ("nhwc", (32, 32))
    gray = inspect_model(write_onnx(tmp_path / "d.onnx", channels=1))
    assert gray.channels == 1
    batch = inspect_model(write_onnx(tmp_path / "e.onnx", batch="n"))
    assert batch.dynamic_batch
    assert (
        dataclasses.replace(
            batch, sha256=base.sha256, size_bytes=base.size_bytes, dynamic_batch=False
        )
        == base
    )


def test_an_open_size_is_completed_by_a_run(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", size="s")
    assert inspect_model(path).input_size is None
    assert inspect_model(path, size=(40, 48)).output_width == CLASSES
    with pytest.raises(ModelError, match=r"cannot run it on an input \(1, 3, 2, 2\)"):
        inspect_model(path, size=(2, 2))


def test_tflite(tmp_path: Path) -> None:
    facts = inspect_model(write_tflite(tmp_path / "a.tflite"))
    assert (facts.format, facts.layout, facts.dtype) == ("tflite", "nhwc", "float32")
    assert (facts.output_kind, facts.output_width) == ("probabilities", CLASSES)
    logits = inspect_model(write_tflite(tmp_path / "b.tflite", softmax=False))
    assert logits.output_kind == "logits"
    stored = inspect_model(write_tflite(tmp_path / "c.tflite", quantised=True))
    assert stored.dtype == "uint8"
    assert stored.input_quantisation == Quantisation(0.007843138, 128)
    assert stored.output_quantisation == Quantisation(1 / 256, 0)
    assert stored.output_kind == "probabilities"
    raw = inspect_model(write_tflite(tmp_path / "d.tflite", quantised=True, softmax=False))
    assert raw.output_kind == "logits"


def test_probabilities_that_no_last_operator_tells_are_measured(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.node.extend(
        [
            helper.make_node("Exp", ["logits"], ["e"]),
            helper.make_node("ReduceSum", ["e"], ["sum"], keepdims=1),
            helper.make_node("Div", ["e", "sum"], ["scores"]),
        ]
    )
    model.graph.output[0].name = "scores"
    assert inspect_model(save(tmp_path / "a.onnx", model)).output_kind == "probabilities"
    model.graph.node[-1].op_type = "Add"
    assert inspect_model(save(tmp_path / "b.onnx", model)).output_kind == "logits"


def test_onnx_with_quantised_ends(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(0.25), "scale"),
            numpy_helper.from_array(np.uint8(7), "zero"),
        ]
    )
    model.graph.node[0].input[0] = "real"
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["real"])
    )
    model.graph.node.append(
        helper.make_node("QuantizeLinear", ["logits", "scale", "zero"], ["scores"])
    )
    model.graph.output[0].name = "scores"
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.UINT8
    facts = inspect_model(save(tmp_path / "a.onnx", model))
    assert facts.dtype == "uint8"
    assert facts.input_quantisation == facts.output_quantisation == Quantisation(0.25, 7)
    assert facts.output_kind == "logits"


def test_outputs_with_axes_of_one_are_squeezed(tmp_path: Path) -> None:
    model = one_node("GlobalAveragePool", [1, 3, 8, 8], [1, 3, 1, 1])
    assert inspect_model(save(tmp_path / "a.onnx", model)).output_width == 3


def test_an_undeclared_output_shape_is_found_by_a_run(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert inspect_model(save(tmp_path / "a.onnx", model)).output_width == CLASSES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.onnx", None, "no such file"),
        ("a.onnx", b"", "the file is empty"),
        ("a.tflite", b"", "the file is empty"),
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.onnx", b"hello, this is no model", "a.onnx: "),
        ("a.tflite", b"hello, this is no model", "LiteRT cannot load it"),
        ("a.pb", b"x", "must end in .onnx or .tflite"),
        ("a.pth", b"x", "name the class that uses them"),
    ],
)
def test_files_that_are_no_models(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        inspect_model(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("write", [write_onnx, write_tflite])
def test_truncated_files(tmp_path: Path, write: object, share: float) -> None:
    suffix = "onnx" if write is write_onnx else "tflite"
    path = write(tmp_path / f"a.{suffix}")  # type: ignore[operator]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=f"a.{suffix}: "):
        inspect_model(path)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(ModelError, match="no such file"):
        inspect_model(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (one_node("Relu", [1, 8], [1, 8]), "an image input has four dimensions"),
        (one_node("GlobalAveragePool", [1, 5, 8, 8], [1, 5, 1, 1]), "1 or 3 channels"),
        (
            one_node("GlobalAveragePool", [1, "c", 8, 8], [1, "c", 1, 1]),
            r"neither the file nor a trial run tells .* give input.size, input.layout",
        ),
        (one_node("GlobalAveragePool", [8, 3, 8, 8], [8, 3, 1, 1]), "takes batches of 8 images"),
        (one_node("Relu", [1, 3, 8, 8], [1, 3, 8, 8]), r"output is \(1, classes\)"),
        (
            one_node("Magic", [1, 3, 8, 8], [1, 4], domain="com.example"),
            r"cannot load it: com.example:Magic\(-1\) is not a registered function/op$",
        ),
    ],
)
def test_models_that_are_no_image_classifiers(
    tmp_path: Path, model: onnx.ModelProto, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        inspect_model(save(tmp_path / "a.onnx", model))


def test_a_single_score_is_a_width_of_one(tmp_path: Path) -> None:
    model = one_node("ReduceMean", [1, 3, 8, 8], [1, 1, 1, 1])
    facts = inspect_model(save(tmp_path / "a.onnx", model))
    assert (facts.output_width, facts.output_kind) == (1, "logits")
    model.graph.node[0].output[0] = "mean"
    model.graph.node.append(helper.make_node("Sigmoid", ["mean"], ["scores"]))
    assert inspect_model(save(tmp_path / "b.onnx", model)).output_kind == "probabilities"


def test_a_model_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.node.extend(
        [
            helper.make_node("RandomNormalLike", ["logits"], ["noise"], name="noise"),
            helper.make_node("Add", ["logits", "noise"], ["scores"], name="add"),
        ]
    )
    model.graph.output[0].name = "scores"
    told = r"a\.onnx: answers one image twice in different ways .* its RandomNormalLike draws"
    with pytest.raises(ModelError, match=told):
        inspect_model(open_view(save(tmp_path / "a.onnx", model), tmp_path / "view").path)


def test_dropout_in_training_mode_is_named(tmp_path: Path) -> None:
    model = onnx_model()
    for name, value in (("ratio", np.float32(0.5)), ("training", np.bool_(True))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    # Of 16 features, so that two runs do not drop the same ones by chance.
    drop = helper.make_node("Dropout", ["features", "ratio", "training"], ["kept"], name="drop")
    model.graph.node[-1].input[0] = "kept"
    model.graph.node.insert(len(model.graph.node) - 1, drop)
    with pytest.raises(ModelError, match=r"Dropout in training mode \(drop\)"):
        inspect_model(save(tmp_path / "a.onnx", model))


def test_batch_normalisation_in_training_mode_is_named(tmp_path: Path) -> None:
    model = onnx_model()
    rng = np.random.default_rng(0)
    names = ["scale", "shift", "mean", "variance"]
    for name in names:
        values = rng.uniform(0.5, 1.5, 8).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    node = helper.make_node(
        "BatchNormalization", ["conv1", *names], ["bn", "m", "v"], training_mode=1, name="norm"
    )
    model.graph.node.insert(1, node)
    model.graph.node[2].input[0] = "bn"
    (doubt,) = inspect_model(save(tmp_path / "a.onnx", model)).doubts
    assert doubt.startswith("BatchNormalization in training mode (norm)")
    del node.attribute[:]
    model.graph.node[1].CopyFrom(node)
    del model.graph.node[1].output[1:]
    assert inspect_model(save(tmp_path / "b.onnx", model)).doubts == ()


def test_a_model_that_does_not_look_is_named(tmp_path: Path) -> None:
    net = make_net()
    blind = dataclasses.replace(net, head=np.zeros_like(net.head))
    (doubt,) = inspect_model(write_onnx(tmp_path / "a.onnx", net=blind)).doubts
    assert "answers all images that were tried alike" in doubt
    assert inspect_model(write_onnx(tmp_path / "b.onnx")).doubts == ()


def test_a_file_for_one_kind_of_processor_is_named(tmp_path: Path) -> None:
    """The blocked layout's own reordering there and back, as onnxruntime saves it."""
    model = onnx_model(width=16)
    model.graph.node.extend(
        [
            helper.make_node(
                "ReorderInput", ["relu2"], ["blocked"], domain="com.microsoft.nchwc", name="there"
            ),
            helper.make_node(
                "ReorderOutput",
                ["blocked"],
                ["back"],
                domain="com.microsoft.nchwc",
                name="back",
                channels=32,
            ),
        ]
    )
    doubts = list(find_doubts(model))
    assert len(doubts) == 1
    assert "one kind of processor (blocked layout, there, back)" in doubts[0]


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    model = onnx_model(softmax=True)
    model.graph.output.append(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])
    )
    with pytest.raises(ModelError, match=r"outputs \['probabilities', 'logits'\]"):
        inspect_model(save(tmp_path / "a.onnx", model))


def test_a_batch_of_two_in_tflite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes batches of 2 images"):
        inspect_model(write_tflite(tmp_path / "a.tflite", batch=2))


def test_weights_in_a_file_beside_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(
        onnx_model(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    plain = inspect_model(write_onnx(tmp_path / "b.onnx"))
    found = inspect_model(path)
    assert (found.operators, found.output_kind) == (plain.operators, plain.output_kind)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"a.onnx: its weights in files beside cannot be read"):
        inspect_model(path)


def test_answers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = make_net()
    broken = dataclasses.replace(net, head_bias=np.full(CLASSES, np.nan, np.float32))
    with pytest.raises(ModelError, match="NaN or infinity"):
        inspect_model(write_onnx(tmp_path / "a.onnx", net=broken))
