"""A network for images of another size: the same weights; refused where its graph is of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import CLASSES, INPUT, texture_images, write_dense, write_onnx
from sample_tflite import write_tflite

from trimtab.variants import (
    derive_variant,
    inspect_model,
    make_variant,
    resize_in_subprocess,
    resized_input,
    sizes_in_subprocess,
    why_one_size,
)
from trimtab.variants.sizes.resizing import smaller_sizes, stride_of
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor


def variant_of(path: Path, **said: object) -> Variant:
    return make_variant(path, inspect_model(path, (32, 32)), {**INPUT, **said}, {}, path.stem)


def write_fixed(path: Path) -> Path:
    """A graph that flattens its map, so that its weights are of one size."""
    kernel = numpy_helper.from_array(np.ones((2, 3, 2, 2), np.float32), "kernel")
    head = numpy_helper.from_array(np.ones((512, CLASSES), np.float32), "head")
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"], strides=[2, 2]),
        helper.make_node("Flatten", ["map"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(nodes, "fixed", [image], [scores], [kernel, head])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    "options", [{}, {"layout": "nhwc"}, {"size": "side", "batch": "n"}], ids=str
)
def test_it_answers_smaller_images_with_the_same_weights(
    options: dict[str, object], tmp_path: Path
) -> None:
    source, made = write_onnx(tmp_path / "net.onnx", width=32, **options), tmp_path / "small.onnx"
    variant = variant_of(source, **({"size": 32} if "size" in options else {}))
    resize_in_subprocess(source, variant, (24, 24), made)
    weights = [
        {t.name: t.raw_data for t in onnx.load(str(p)).graph.initializer} for p in (source, made)
    ]
    assert weights[0] == weights[1]
    fmt = resized_input(variant.input, (24, 24))
    like = Variant("net", variant.sha256, "onnx", variant.size_bytes, fmt, variant.output)
    small = derive_variant(made, like, "net 24px")
    assert small.sha256 != variant.sha256
    images, labels = texture_images(40, seed=3)
    engine = create_engine(str(made), small, RuntimeOptions("onnxruntime"))
    found = [int(engine.run(Preprocessor(i).tensor(small.input)).argmax()) for i in images]
    assert np.mean(np.array(found) == labels) > 0.6  # of four classes


def test_sizes_that_are_tried_are_whole_strides(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx")
    assert stride_of(source, (32, 32)) == 4
    found = sizes_in_subprocess(source, variant_of(source), None)
    assert [(trial.size, trial.reason) for trial in found] == [((28, 28), ""), ((24, 24), "")]
    assert smaller_sizes((260, 260), 32) == [(224, 224), (192, 192)]
    assert smaller_sizes((240, 320), 32) == [(192, 288), (192, 256)]
    assert smaller_sizes((32, 32), 32) == []


def test_listed_sizes_are_tried_as_they_are(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx")
    found = sizes_in_subprocess(source, variant_of(source), [(32, 32), (20, 28), (4, 4)])
    assert [trial.size for trial in found] == [(20, 28), (4, 4)]
    assert not found[0].reason and found[1].reason


@pytest.mark.parametrize("write", [write_fixed, write_dense])
def test_a_graph_of_one_size_says_why(write: object, tmp_path: Path) -> None:
    source = write(tmp_path / "fixed.onnx")  # type: ignore[operator]  # a function of a path
    variant = variant_of(source)
    assert why_one_size(variant) == ""
    found = sizes_in_subprocess(source, variant, None)
    assert found and all("onnxruntime" in trial.reason for trial in found)
    with pytest.raises(ModelError, match="onnxruntime"):
        resize_in_subprocess(source, variant, (24, 24), tmp_path / "made.onnx")


def test_other_formats_keep_their_size(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "net.tflite")
    variant = make_variant(path, inspect_model(path), INPUT, {}, "net")
    assert "only ONNX" in why_one_size(variant)


def test_an_image_is_fitted_in_as_before_but_smaller() -> None:
    cut = InputFormat((224, 224), fit="crop", resize_size=(256, 256))
    assert resized_input(cut, (192, 192)).resize_size == (219, 219)
    share = resized_input(InputFormat((224, 224), fit="crop", crop=0.875), (192, 160))
    assert (share.crop, share.resized) == (0.875, (219, 182))
