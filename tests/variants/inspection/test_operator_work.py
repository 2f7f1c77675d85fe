"""The work of a model file, counted by hand for small real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import INPUT, onnx_model, texture_images, write_onnx
from sample_tflite import write_tflite

from trimtab.variants import (
    KINDS,
    OperatorWork,
    inspect_model,
    make_variant,
    operator_work,
    quantise_w8a8,
)
from trimtab_runtime.errors import ModelError

#: Width 8 on 32 x 32 images: 15 x 15 x 8 after the first convolution, 7 x 7 x 16 after the second.
FIRST = OperatorWork("conv", 225 * 8 * 27, 3 * 1024, 225 * 8, 8 * 27 + 8, 4)
SECOND = OperatorWork("conv", 49 * 16 * 72, 225 * 8, 49 * 16, 16 * 72 + 16, 4)
HEAD = OperatorWork("dense", 64, 16, 4, 64 + 4, 4)


def test_an_onnx_file(tmp_path: Path) -> None:
    write_onnx(tmp_path / "small.onnx", width=8)
    found = operator_work(tmp_path / "small.onnx", "onnx")
    assert [each.kind for each in found] == [
        *("conv", "activation", "conv", "activation", "pool", "dense")
    ]
    assert (found[0], found[2], found[5]) == (FIRST, SECOND, HEAD)
    assert found[4] == OperatorWork("pool", 0, 49 * 16, 16, 0, 4)


def test_a_name_without_a_suffix_and_an_open_size(tmp_path: Path) -> None:
    path = tmp_path / "0123abcd"
    onnx.save(onnx_model(8, size="side", batch="n"), path)
    assert operator_work(path, "onnx", (32, 32))[0] == FIRST
    larger = operator_work(path, "onnx", (65, 65))
    assert larger[0].multiply_accumulates == 32 * 32 * 8 * 27


@pytest.mark.parametrize(("quantised", "width"), [(False, 4), (True, 1)])
def test_a_tflite_file_has_the_same_work(tmp_path: Path, quantised: bool, width: int) -> None:
    write_tflite(tmp_path / "small.tflite", width=8, quantised=quantised)
    found = operator_work(tmp_path / "small.tflite", "tflite")
    weighted = [each for each in found if each.multiply_accumulates]
    expected = [FIRST, SECOND, HEAD]
    assert [each.kind for each in weighted] == ["conv", "conv", "dense"]
    assert {(each.element_bytes, each.unsigned) for each in found} == {(width, quantised)}
    for one, other in zip(weighted, expected, strict=True):
        for name in ("multiply_accumulates", "read", "written", "weights"):
            assert getattr(one, name) == getattr(other, name)


def test_w8a8_multiplies_bytes_and_counts_no_quantisers(tmp_path: Path) -> None:
    source, out = tmp_path / "small.onnx", tmp_path / "w8a8.onnx"
    write_onnx(source, width=8)
    variant = make_variant(source, inspect_model(source), INPUT, {}, "small")
    quantise_w8a8(source, variant, list(texture_images(8)[0]), out)
    found = operator_work(out, "onnx")
    weighted = [each for each in found if each.multiply_accumulates]
    assert [each.element_bytes for each in weighted] == [1, 1, 1]
    assert [each.multiply_accumulates for each in weighted] == [
        each.multiply_accumulates for each in (FIRST, SECOND, HEAD)
    ]
    assert {each.kind for each in found} <= set(KINDS)


def test_convolutions_of_three_kinds(tmp_path: Path) -> None:
    """3 x 3, one group a channel, and 1 x 1, on 16 x 16 maps of 6 channels."""
    shapes = {"full": (6, 6, 3, 3), "deep": (6, 1, 3, 3), "point": (12, 6, 1, 1)}
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "full"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "deep"], ["b"], pads=[1] * 4, group=6),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Conv", ["c", "point"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 6, 16, 16])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 12, 16, 16])
    graph = helper.make_graph(nodes, "kinds", [image], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "kinds.onnx")
    maps = 256 * 6
    assert operator_work(tmp_path / "kinds.onnx", "onnx") == (
        OperatorWork("conv", maps * 54, maps, maps, 6 * 54, 4),
        OperatorWork("depthwise", maps * 9, maps, maps, 54, 4),
        OperatorWork("sum", 0, 2 * maps, maps, 0, 4),
        OperatorWork("pointwise", 2 * maps * 6, maps, 2 * maps, 72, 4),
    )


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        operator_work(tmp_path / "broken.onnx", "onnx")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        operator_work(tmp_path / "broken.onnx", "tflite")
