"""What nodes that onnxruntime ran were in the file, on files of many kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
from sample_models import INPUT, GraphDrawer, texture_images, write_inverted, write_onnx
from sample_models import write_residual as residual

from trimtab.profilers import LocalDevice
from trimtab.variants import (
    Executed,
    Origin,
    find_origins,
    holds_weights,
    inspect_model,
    make_variant,
    quantise_w8a8,
)
from trimtab_runtime.definitions.plan import GRAPH_LEVELS, RuntimeOptions
from trimtab_runtime.errors import ModelError
from trimtab_runtime.probe.requests import LayersRequest


def parallel(path: Path) -> Path:
    """Convolutions side by side, pooling and normalisation, a Concat; names only for tensors."""
    draw = GraphDrawer()
    x = draw.op("Relu", draw.conv("image", 16, 5, 2))
    x = draw.op("LRN", x, size=5)
    branches = [draw.op("Relu", draw.conv(x, 8, size)) for size in (1, 3)]
    pooled = draw.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
    branches.append(draw.op("Relu", draw.conv(pooled, 8, 1)))
    x = draw.op("Concat", *branches, axis=1, width=24)
    for node in draw.nodes:
        node.name = ""
    return draw.write(path, draw.head(x))


def quantised(path: Path) -> Path:
    source = residual(path.with_suffix(".float.onnx"))[0]
    variant = make_variant(source, inspect_model(source), INPUT, {}, "net")
    return quantise_w8a8(source, variant, list(texture_images(8)[0]), path)


MAKERS: dict[str, Any] = {
    "plain": lambda path: write_onnx(path, 8, softmax=True),
    "residual": lambda path: residual(path, batch_norm=True)[0],
    "inverted": lambda path: write_inverted(path)[0],
    "parallel": parallel,
    "quantised": quantised,
}

#: Multiply-accumulates, counted by hand from kernels and the sides of their outputs.
EXPECTED = {
    "plain": 8 * 27 * 15**2 + 16 * 72 * 7**2 + 4 * 16,
    "parallel": 16 * 75 * 256 + 8 * 16 * 256 * (1 + 9 + 1) + 24 * 4,
    "residual": (
        (16 * 27 + 4 * 16 * 144) * 1024
        + (32 * 144 + 32 * 288 + 32 * 16 + 4 * 32 * 288) * 256
        + 32 * 4
    ),
}
EXPECTED["quantised"] = EXPECTED["residual"]


def executed_by(path: Path, level: str) -> list[Executed]:
    options = RuntimeOptions("onnxruntime", graph_optimisation=level)
    found = LocalDevice().probe(LayersRequest(str(path), options, "", runs=1)).arrays
    pairs = zip(found["name"].tolist(), found["operator"].tolist(), strict=True)
    return [Executed(*pair) for pair in pairs]


@pytest.mark.parametrize("level", [level for level in GRAPH_LEVELS if level != "basic"])
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_all_work_of_the_file_is_found_once(tmp_path: Path, name: str, level: str) -> None:
    path = MAKERS[name](tmp_path / "net.onnx")
    executed = executed_by(path, level)
    origins = find_origins(path, executed)
    named = Counter(node for origin in origins for node in origin.nodes)
    assert set(named.values()) == {1}
    works = [origin.multiply_accumulates for origin in origins]
    if name == "parallel" and level != "all":
        # Without a layout of their own nodes are called as in the file: not at all.
        assert all(work in (None, 0) or work == 96 for work in works)
        return
    assert None not in works
    if name in EXPECTED:
        assert sum(work or 0 for work in works) == EXPECTED[name]
    for each, work in zip(executed, works, strict=True):
        assert holds_weights(each.operator) == bool(work), each
    kept = {node.op_type for node in onnx.load(path).graph.node} & {"Conv", "Gemm", "Relu"}
    assert kept <= {kind for _, kind in named} | ({"Relu"} if name == "quantised" else set())


def test_a_fused_node_carries_out_what_it_replaced(tmp_path: Path) -> None:
    path = residual(tmp_path / "net.onnx", batch_norm=True)[0]
    executed = executed_by(path, "all")
    origins = find_origins(path, executed)
    kinds = [
        [kind for _, kind in origin.nodes]
        for each, origin in zip(executed, origins, strict=True)
        if each.operator == "Conv"
    ]
    assert kinds[0] == ["Conv", "BatchNormalization", "Relu"]
    assert ["Conv", "BatchNormalization", "Add", "Relu"] in kinds
    reorder = next(o for e, o in zip(executed, origins, strict=True) if "Reorder" in e.operator)
    assert reorder == Origin((), 0)


def test_names_that_tell_nothing_are_left_unknown(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", 4)
    found = find_origins(path, [Executed("kernel_7", "Conv"), Executed("x", "MaxPool")])
    assert found == [Origin((), None), Origin((), 0)]


def test_an_open_size_leaves_work_to_be_told(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", 8, size="s")
    executed = [Executed("Conv_0", "FusedConv")]
    (found,) = find_origins(path, executed, (32, 32))
    assert found.multiply_accumulates == 8 * 27 * 15**2
    assert found.nodes == (("Conv_0", "Conv"), ("Relu_1", "Relu"))


def test_a_file_with_two_inputs_tells_nothing(tmp_path: Path) -> None:
    model = onnx.load(write_onnx(tmp_path / "net.onnx", 4))
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", 1, [1]))
    onnx.save(model, tmp_path / "net.onnx")
    found = find_origins(tmp_path / "net.onnx", [Executed("Conv_0", "Conv")])
    assert found == [Origin((), None)]
    (tmp_path / "net.onnx").write_bytes(b"\xff no model")
    with pytest.raises(ModelError, match="damaged or no ONNX file"):
        find_origins(tmp_path / "net.onnx", [])


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("Conv", True), ("FusedConv", True), ("QLinearConv", True), ("ConvTranspose", True),
     ("QGemm", True), ("FusedMatMul", True), ("DynamicQuantizeLSTM", True),
     ("MaxPool", False), ("LRN", False), ("BatchNormalization", False), ("ReorderInput", False),
     ("QLinearAdd", False), ("DequantizeLinear", False), ("Concat", False)],
)  # fmt: skip
def test_operators_with_weights(operator: str, expected: bool) -> None:
    assert holds_weights(operator) is expected
