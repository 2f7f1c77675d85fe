"""Taps of real small networks of many kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from sample_models import (
    INPUT,
    GraphDrawer,
    texture_images,
    write_inverted,
    write_onnx,
    write_residual,
)
from sample_tflite import write_tflite

from trimtab.variants import TapPlace, find_taps, inspect_model, make_variant, quantise_w8a8
from trimtab.variants.segments.taps import thin
from trimtab_runtime.errors import ModelError


def found(path: Path, **options: Any) -> list[TapPlace]:
    taps, reason = find_taps(path, **options)
    assert taps
    assert reason is None
    return taps


def reason(path: Path) -> str:
    taps, told = find_taps(path)
    assert taps == []
    assert told is not None
    return told


def quantised(source: Path, out: Path) -> Path:
    variant = make_variant(source, inspect_model(source), INPUT, {}, "m")
    return quantise_w8a8(source, variant, list(texture_images(8)[0]), out)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_blocks_end_behind_their_activation(tmp_path: Path, batch_norm: bool) -> None:
    path, ends = write_residual(tmp_path / "a.onnx", batch_norm=batch_norm)
    taps = found(path)
    # The last block ends where nothing is left to save.
    assert [t.name for t in taps][-4:] == ends[:4]
    assert [t.channels for t in taps][-4:] == [16, 16, 32, 32]
    assert [t.name for t in taps][:-4] == ["relu_2" if batch_norm else "relu_1"]


def test_shares_are_of_multiply_accumulates(tmp_path: Path) -> None:
    path, _ = write_residual(tmp_path / "a.onnx")
    stem, block = 32 * 32 * 16 * 27, 32 * 32 * 16 * 16 * 9 * 2
    down = 16 * 16 * (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32)
    total = stem + 2 * block + down + 2 * (16 * 16 * 32 * 32 * 9 * 2) + 32 * 4
    sums = [stem, stem + block, stem + 2 * block, stem + 2 * block + down]
    assert [t.share for t in found(path)][:4] == pytest.approx([s / total for s in sums])


def test_expanded_maps_are_left_out(tmp_path: Path) -> None:
    path, ends = write_inverted(tmp_path / "a.onnx")
    assert [t.name for t in found(path)] == ["relu_1", *ends]
    assert [t.channels for t in found(path)] == [8, 16, 16, 24]


@pytest.mark.parametrize("write", [write_residual, write_inverted])
def test_quantised_networks_have_the_same_taps(tmp_path: Path, write: Any) -> None:
    path, _ = write(tmp_path / "a.onnx")
    floats, ints = found(path), found(quantised(path, tmp_path / "q.onnx"))
    assert [t.name for t in ints] == [f"{t.name}_QuantizeLinear_Output" for t in floats]
    assert [(t.channels, t.share) for t in ints] == [(t.channels, t.share) for t in floats]


def test_plain_networks_and_nhwc_images(tmp_path: Path) -> None:
    plain = [(t.name, t.channels) for t in found(write_onnx(tmp_path / "a.onnx"))]
    assert plain == [("relu1", 8)]
    nhwc = found(write_onnx(tmp_path / "b.onnx", layout="nhwc"))
    assert [(t.name, t.channels) for t in nhwc] == plain


def test_open_sizes_and_batches(tmp_path: Path) -> None:
    fixed, _ = write_residual(tmp_path / "a.onnx")
    names = [t.name for t in found(fixed)]
    path, _ = write_residual(tmp_path / "b.onnx", size="s", batch="n")
    assert found(path, size=(32, 32)) == found(fixed)
    assert [t.name for t in found(path)] == names


def test_a_padding_stays_with_its_convolution(tmp_path: Path) -> None:
    draw = GraphDrawer()
    end = draw.op("MaxPool", draw.op("Relu", draw.conv("image", 8)), kernel_shape=[2, 2])
    pads = onnx.numpy_helper.from_array(np.array([0, 0, 1, 1] * 2), "pads")
    draw.weights.append(pads)
    x = draw.conv(draw.op("Pad", end, "pads"), 16)
    path = draw.write(tmp_path / "a.onnx", draw.head(draw.op("Relu", x)))
    assert [t.name for t in found(path)] == [end]


def test_side_branches_are_no_taps(tmp_path: Path) -> None:
    """Two branches from end to end: nothing alone carries everything."""
    draw = GraphDrawer()
    left, right = (draw.conv(draw.op("Relu", draw.conv("image", 8)), 8) for _ in range(2))
    path = draw.write(tmp_path / "a.onnx", draw.op("Add", draw.head(left), draw.head(right)))
    assert "branches run side by side from end to end" in reason(path)


def test_tokens_are_no_feature_maps(tmp_path: Path) -> None:
    """Patches, then matrices on (1, tokens, width), as in a vision transformer."""
    draw = GraphDrawer()
    kernel = draw.weight(32, 3, 8, 8)
    patches = draw.op("Conv", "image", kernel, width=32, strides=[8, 8])
    draw.weights.append(onnx.numpy_helper.from_array(np.array([1, 32, 16]), "tokens"))
    x = draw.op("Transpose", draw.op("Reshape", patches, "tokens"), perm=[0, 2, 1])
    for _ in range(48):
        inner = draw.op("Relu", draw.op("MatMul", x, draw.weight(32, 256)))
        x = draw.op("Add", x, draw.op("MatMul", inner, draw.weight(256, 32)))
    x = draw.op("ReduceMean", x, axes=[1], keepdims=0)
    output = draw.op("Gemm", x, draw.weight(4, 32), transB=1)
    assert "0.8 % of the work lie before it" in reason(draw.write(tmp_path / "a.onnx", output))


def test_why_there_are_none(tmp_path: Path) -> None:
    draw = GraphDrawer()
    flat = draw.op("Flatten", "image", width=3 * 32 * 32)
    path = draw.write(tmp_path / "a.onnx", draw.op("Gemm", flat, draw.weight(3072, 4)))
    assert "no convolution" in reason(path)
    draw = GraphDrawer()
    path = draw.write(tmp_path / "b.onnx", draw.head(draw.op("Relu", draw.conv("image", 8))))
    assert "so early or late" in reason(path)
    assert "TFLite" in reason(write_tflite(tmp_path / "a.tflite"))


def test_what_engines_and_quantisers_made_of_convolutions(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx", 8)
    quantize_dynamic(str(source), str(tmp_path / "dynamic.onnx"), weight_type=QuantType.QUInt8)
    assert [tap.channels for tap in found(tmp_path / "dynamic.onnx")] == [
        tap.channels for tap in found(source)
    ]
    model = onnx.load(str(source))
    for node in model.graph.node:
        node.domain = "com.microsoft.nchwc" if node.op_type == "Conv" else ""
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    onnx.save(model, str(tmp_path / "blocked.onnx"))
    assert "in blocks of channels" in reason(tmp_path / "blocked.onnx")


def test_several_outputs(tmp_path: Path) -> None:
    path, ends = write_residual(tmp_path / "a.onnx")
    model = onnx.load(str(path))
    model.graph.output.append(helper.make_tensor_value_info(ends[0], TensorProto.FLOAT, None))
    onnx.save(model, str(path))
    assert "one image in and one output" in reason(path)


def test_unknown_operators_hide_shapes(tmp_path: Path) -> None:
    draw = GraphDrawer()
    strange = draw.op("Gelu", draw.conv("image", 8), domain="com.microsoft")
    path = draw.write(tmp_path / "a.onnx", draw.head(draw.conv(strange, 8)))
    assert "No opset import for domain com.microsoft" in reason(path)
    model = onnx.load(str(path))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(path))
    assert "the shapes around its Conv 'n_conv_2' are not known" in reason(path)


def test_damaged_files_raise(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\xff no model")
    with pytest.raises(ModelError, match=r"a\.onnx"):
        find_taps(tmp_path / "a.onnx")


def test_thinning_spreads_evenly() -> None:
    taps = [TapPlace(str(i), 8, share) for i, share in enumerate((0.1, 0.12, 0.14, 0.5, 0.9))]
    assert [t.share for t in thin(taps, 3)] == [0.14, 0.5, 0.9]
    assert thin(taps, 5) == taps
    assert thin(taps, 0) == []
