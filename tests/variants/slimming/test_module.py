"""Every operator in torch against onnxruntime, and weights that go there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from trimtab.variants.slimming.torch_module.module import OnnxModule, unsupported
from trimtab.variants.slimming.torch_module.operators import OPERATORS
from trimtab_runtime.errors import ModelError

Array = np.ndarray[Any, np.dtype[Any]]
MAP = (1, 6, 9, 10)
FLAT = (1, 12)


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def one_node(
    op: str,
    constants: Sequence[Any] = (),
    shape: Sequence[int] = MAP,
    order: Sequence[str] | None = None,
    opset: int = 20,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node; its inputs are the image `x` and constants `c0`, `c1`, ..., None for
    one left out. `order` names them where the image is not the first."""
    named = [("" if value is None else f"c{i}", value) for i, value in enumerate(constants)]
    weights = [numpy_helper.from_array(np.asarray(v), n) for n, v in named if v is not None]
    inputs = list(order) if order else ["x", *(name for name, _ in named)]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(op, inputs, ["y"], **attributes)],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


def run(model: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in x])


def torch_run(module: torch.nn.Module, x: Array) -> Array:
    with torch.no_grad():
        found: Array = module(torch.from_numpy(x)).numpy()
    return found


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


KERNEL = draw(8, 6, 3, 3, seed=1) / 5
BIAS = draw(8, seed=2)
ONE = np.float32(1.5)
CASES: dict[str, onnx.ModelProto] = {
    "Abs": one_node("Abs"),
    "Add": one_node("Add", [draw(6, 1, 1)]),
    "Add scalar": one_node("Add", [ONE]),
    "Add itself": one_node("Add", order=["x", "x"]),
    "AveragePool": one_node("AveragePool", kernel_shape=[3, 3]),
    "AveragePool pads": one_node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool counted": one_node(
        "AveragePool", kernel_shape=[3, 2], pads=[1, 1, 1, 1], count_include_pad=1, strides=[2, 2]
    ),
    "AveragePool uneven": one_node("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 1, 0]),
    "AveragePool ceil": one_node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "AveragePool ceil pads": one_node(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 1, 1, 1]
    ),
    "AveragePool same": one_node(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "AveragePool 3": one_node("AveragePool", shape=(1, 1, 9, 4, 5), kernel_shape=[5, 1, 1]),
    "AveragePool 3 pads": one_node(
        "AveragePool",
        shape=(1, 1, 9, 4, 5),
        kernel_shape=[5, 2, 1],
        pads=[2, 0, 0, 1, 1, 0],
        count_include_pad=1,
    ),
    "BatchNormalization": one_node(
        "BatchNormalization",
        [draw(6), draw(6, seed=1), draw(6, seed=2), np.abs(draw(6, seed=3)) + 0.1],
        epsilon=1e-3,
    ),
    "Clip": one_node("Clip", [np.float32(0), np.float32(1)]),
    "Clip below": one_node("Clip", [np.float32(-0.5)]),
    "Clip above": one_node("Clip", [None, np.float32(0.5)]),
    "Clip old": one_node("Clip", opset=10, min=0.0, max=0.7),
    "Concat": one_node("Concat", order=["x", "x"], axis=1),
    "Conv": one_node("Conv", [KERNEL, BIAS], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "Conv no bias": one_node("Conv", [KERNEL], strides=[2, 1]),
    "Conv one channel": one_node("Conv", [KERNEL[:1], BIAS[:1]]),
    "Conv dilated": one_node("Conv", [KERNEL, BIAS], dilations=[2, 2], pads=[2, 2, 2, 2]),
    "Conv groups": one_node("Conv", [KERNEL[:6, :2], BIAS[:6]], group=3),
    "Conv depthwise": one_node("Conv", [KERNEL[:6, :1], BIAS[:6]], group=6, strides=[2, 2]),
    "Conv some": one_node("Conv", [KERNEL[:, :, :1, :1], BIAS], strides=[2, 3]),
    "Conv some padded": one_node(
        "Conv", [KERNEL[:, :, :1, :1], BIAS], strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "Conv some uneven": one_node(
        "Conv", [KERNEL[:, :, :1, :1], BIAS], strides=[2, 1], pads=[0, 1, 1, 0]
    ),
    "Conv uneven": one_node("Conv", [KERNEL, BIAS], pads=[0, 1, 2, 0]),
    "Conv upper": one_node("Conv", [KERNEL, BIAS], auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv lower": one_node("Conv", [KERNEL, BIAS], auto_pad="SAME_LOWER", strides=[2, 2]),
    "Conv valid": one_node("Conv", [KERNEL, BIAS], auto_pad="VALID"),
    "Div": one_node("Div", [np.abs(draw(6, 1, 1)) + 0.5]),
    "Dropout": one_node("Dropout", [np.float32(0.5)]),
    "Elu": one_node("Elu", alpha=0.7),
    "Erf": one_node("Erf"),
    "Exp": one_node("Exp"),
    "Flatten": one_node("Flatten"),
    "Flatten 0": one_node("Flatten", axis=0),
    "Gelu": one_node("Gelu"),
    "Gelu tanh": one_node("Gelu", approximate="tanh"),
    "Gemm": one_node("Gemm", [draw(12, 5), draw(5)], FLAT),
    "Gemm transposed": one_node("Gemm", [draw(5, 12), draw(1, 5)], FLAT, transB=1),
    "Gemm no bias": one_node("Gemm", [draw(12, 5)], FLAT),
    "GlobalAveragePool": one_node("GlobalAveragePool"),
    "GlobalMaxPool": one_node("GlobalMaxPool"),
    "HardSigmoid": one_node("HardSigmoid", alpha=0.3, beta=0.4),
    "HardSwish": one_node("HardSwish"),
    "Identity": one_node("Identity"),
    "LRN": one_node("LRN", size=5, alpha=0.1, beta=0.7, bias=1.2),
    "LRN wide": one_node("LRN", size=9, alpha=0.5),
    "LeakyRelu": one_node("LeakyRelu", alpha=0.2),
    "LogSoftmax": one_node("LogSoftmax", shape=FLAT, axis=1),
    "MatMul": one_node("MatMul", [draw(12, 5)], FLAT),
    "MatMul rank 4": one_node("MatMul", [draw(10, 5)]),
    "MatMul from the left": one_node("MatMul", [draw(4, 9)], order=["c0", "x"]),
    "MaxPool": one_node("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
    "MaxPool pads": one_node("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "MaxPool uneven": one_node("MaxPool", kernel_shape=[3, 3], pads=[0, 0, 2, 1]),
    "MaxPool ceil": one_node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool ceil pads": one_node(
        "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[0, 1, 1, 1]
    ),
    "MaxPool dilated": one_node("MaxPool", kernel_shape=[2, 2], dilations=[2, 3]),
    "MaxPool same": one_node(
        "MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"
    ),
    "Mul": one_node("Mul", [draw(1, 6, 1, 1)]),
    "Neg": one_node("Neg"),
    "PRelu": one_node("PRelu", [draw(6, 1, 1)]),
    "PRelu one": one_node("PRelu", [draw(1)]),
    "PRelu rank 2": one_node("PRelu", [draw(12)], FLAT),
    "Pad": one_node("Pad", [ints(0, 2, 1, 0, 0, 1, 0, 3), np.float32(0.5)]),
    "Pad axes": one_node("Pad", [ints(1, 2), None, ints(-1)]),
    "Pow": one_node("Pow", [np.float32(2)]),
    "ReduceMax": one_node("ReduceMax", [ints(2, 3)]),
    "ReduceMean": one_node("ReduceMean", [ints(-1, -2)], keepdims=0),
    "ReduceMean old": one_node("ReduceMean", opset=13, axes=[2, 3]),
    "ReduceSum": one_node("ReduceSum", [ints(1)]),
    "Relu": one_node("Relu"),
    "Reshape": one_node("Reshape", [ints(1, -1)]),
    "Reshape zeros": one_node("Reshape", [ints(0, 2, 3, -1)]),
    "Reshape front": one_node("Reshape", [ints(-1, 540)]),
    "Sigmoid": one_node("Sigmoid"),
    "Slice": one_node("Slice", [ints(1, 0), ints(9, 2**31), ints(2, 3), ints(2, 2)]),
    "Slice behind": one_node("Slice", [ints(-4), ints(-1), ints(-1)]),
    "Slice images": one_node("Slice", [ints(0, 1), ints(2**62, 3)]),
    "Softmax": one_node("Softmax", shape=FLAT, axis=-1),
    "Softplus": one_node("Softplus"),
    "Sqrt": one_node("Sqrt"),
    "Squeeze": one_node("Squeeze", [ints(2, -1)], (1, 6, 1, 1)),
    "Sub": one_node("Sub", [draw(6, 1, 1)], order=["c0", "x"]),
    "Sum": one_node("Sum", order=["x", "x", "x"]),
    "Tanh": one_node("Tanh"),
    "Transpose": one_node("Transpose", perm=[0, 2, 3, 1]),
    "Unsqueeze": one_node("Unsqueeze", [ints(1, -1)], FLAT),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_answer_as_in_onnxruntime(name: str) -> None:
    model = CASES[name]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = draw(3, *shape[1:], seed=7)
    x = np.abs(x) if name == "Sqrt" else x
    module = OnnxModule(model)
    expected = run(model, x)
    assert unsupported(model) is None
    np.testing.assert_allclose(torch_run(module, x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(run(module.to_onnx(), x), expected)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("Conv")])
def test_channels_may_lie_together(name: str) -> None:
    """Gradients are the same. (torch 2.13's own strided 1x1 Conv ended the process there on an AMD
    EPYC, and does not on an Intel Xeon.)"""
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        module = OnnxModule(CASES[name]).to(memory_format=layout)
        for _ in range(20):
            x = torch.from_numpy(draw(9, *MAP[1:], seed=7)).contiguous(memory_format=layout)
            module.zero_grad()
            module(x).square().mean().backward()
        found.append([parameter.grad.numpy().copy() for parameter in module.parameters()])
    for plain, together in zip(*found, strict=True):
        np.testing.assert_allclose(together, plain, rtol=1e-4, atol=1e-5)


def test_every_operator_is_tried() -> None:
    assert {name.split()[0] for name in CASES} == set(OPERATORS)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (one_node("CumSum", [np.int64(1)]), "does not run here: CumSum"),
        (one_node("Softmax", shape=FLAT, axis=0), "along the axis of the images"),
        (one_node("Transpose", perm=[1, 0, 2, 3]), "moves the axis of the images"),
        (one_node("Flatten", axis=2), "mixes images"),
        (one_node("Reshape", [ints(6, -1)]), "first axis is not that of the images"),
        (one_node("ReduceMean"), "reduces every axis"),
        (one_node("Pad", [ints(1, 0, 0, 0, 0, 0, 0, 0)]), "along the axis of the images"),
        (one_node("Pad", [ints(0, 0, 1, 1, 0, 0, 1, 1)], mode="reflect"), "mode 'reflect'"),
        (one_node("Squeeze", shape=(1, 6, 1, 1)), "removes the axis of the images"),
        (one_node("Conv", order=["x", "x"]), "is computed, not constant"),
        (one_node("Gemm", [draw(12, 5)], FLAT, alpha=0.5), "alpha"),
        (one_node("MatMulInteger", [np.ones((12, 3), np.uint8)], FLAT), "MatMulInteger"),
    ],
)
def test_what_cannot_run_is_named(model: onnx.ModelProto, reason: str) -> None:
    found = unsupported(model)
    assert found is not None and reason in found
    with pytest.raises(ModelError):
        OnnxModule(model)


def two_convolutions(shared: bool = False) -> onnx.ModelProto:
    first = helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1])
    second = "w" if shared else "v"
    nodes = [
        first,
        helper.make_node("Clip", ["a", "low", "high"], ["r"]),
        helper.make_node("Conv", ["r", second, "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["c", "factors"], ["m"]),
        helper.make_node("GlobalAveragePool", ["m"], ["g"]),
        helper.make_node("Reshape", ["g", "target"], ["f"]),
        helper.make_node("Gemm", ["f", "head"], ["y"]),
    ]
    weights = {
        "w": draw(6, 6, 3, 3, seed=3),
        "v": draw(6, 6, 3, 3, seed=4),
        "b": draw(6),
        "low": np.float32(0),
        "high": np.float32(6),
        "factors": draw(6, 1, 1),
        "target": ints(1, 6),
        "head": draw(6, 4),
    }
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, MAP)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_parameters_are_the_weights_and_not_the_bounds() -> None:
    module = OnnxModule(two_convolutions())
    assert {*module.learned_names()} == {"w", "v", "b", "b_own", "factors", "head"}
    assert len(list(module.parameters())) == 6
    kinds = [type(m) for m in module.layers.values()]
    assert kinds == [torch.nn.Conv2d, torch.nn.Conv2d, torch.nn.Linear]


def test_shared_weights_are_learned_apart() -> None:
    module = OnnxModule(two_convolutions(shared=True))
    x = draw(2, *MAP[1:])
    with torch.no_grad():
        module.learned_names()["w"].mul_(2)
    names = {t.name: numpy_helper.to_array(t) for t in module.to_onnx().graph.initializer}
    np.testing.assert_array_equal(names["w"], 2 * names["w_own"])
    np.testing.assert_allclose(
        torch_run(module, x), run(module.to_onnx(), x), rtol=1e-4, atol=1e-4
    )


def test_learned_weights_come_back() -> None:
    model = two_convolutions()
    module = OnnxModule(model)
    before = model.SerializeToString()
    x = draw(2, *MAP[1:])
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.mul_(1 + 0.1 * (index + 1))
    after = module.to_onnx()
    expected = torch_run(module, x)
    np.testing.assert_allclose(run(after, x), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(run(model, x) - expected).max() > 0.1
    assert model.SerializeToString() == before


def test_pruned_channels_come_back() -> None:
    module = OnnxModule(two_convolutions())
    first, second, head = module.layers.values()
    x = draw(2, *MAP[1:])
    kept = [0, 2, 5]
    with torch.no_grad():
        for layer, axis in ((first, 0), (second, 1)):
            layer.weight = torch.nn.Parameter(layer.weight.index_select(axis, torch.tensor(kept)))
        first.bias = torch.nn.Parameter(first.bias[kept])
        second.weight = torch.nn.Parameter(second.weight[kept])
        second.bias = torch.nn.Parameter(second.bias[kept])
        head.weight = torch.nn.Parameter(head.weight[:, kept])
        factors = next(name for name in module.constants if "factors" in name)
        module.constants[factors] = torch.nn.Parameter(module.constants[factors][kept])
    model = module.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, x), torch_run(module, x), rtol=1e-4, atol=1e-4)
    assert OnnxModule(model).learned_names()["w"].shape == (3, 6, 3, 3)
