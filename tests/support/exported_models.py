"""The small network of sample_models as exporters and converters leave it: one function a habit.

Each takes the model of `onnx_model` and returns it changed; what it answers stays the same, unless
the function says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from sample_models import SIZE, onnx_model

OPSETS = [helper.make_opsetid("", 17)]


def save(path: Path, model: ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def tensor(model: ModelProto, name: str, value: np.ndarray | np.generic | float) -> str:
    """An initialiser more."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def constants_as_nodes(model: ModelProto) -> ModelProto:
    """Weights by Constant nodes, as PyTorch's older exporter writes some."""
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    del model.graph.initializer[:]
    return in_front(model, nodes)


def in_front(model: ModelProto, nodes: Sequence[onnx.NodeProto]) -> ModelProto:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return model


def nameless(model: ModelProto, name: str = "") -> ModelProto:
    """Nodes without a name, or all with one."""
    for node in model.graph.node:
        node.name = name
    return model


def unsorted(model: ModelProto) -> ModelProto:
    """The last node first, as converters leave those that they add."""
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[-1:], *nodes[:-1]])
    return model


def in_functions(model: ModelProto, kinds: Sequence[str] = ("Conv", "Gemm")) -> ModelProto:
    """Nodes of these kinds as calls of local functions, as onnxscript writes modules."""
    for node in model.graph.node:
        if node.op_type not in kinds:
            continue
        inputs = [f"i{index}" for index in range(len(node.input))]
        inner = helper.make_node(node.op_type, inputs, ["o"], name="inner")
        inner.attribute.extend(node.attribute)
        name = f"{node.op_type}_{len(model.functions)}"
        model.functions.append(
            helper.make_function("my.blocks", name, inputs, ["o"], [inner], OPSETS)
        )
        node.op_type, node.domain = name, "my.blocks"
        del node.attribute[:]
    model.opset_import.append(helper.make_opsetid("my.blocks", 1))
    return model


def weights_as_inputs(model: ModelProto) -> ModelProto:
    for weight in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
        )
    return model


def open_axes(model: ModelProto, names: Sequence[str | int | None]) -> ModelProto:
    """An input whose four axes are these."""
    kind = model.graph.input[0].type.tensor_type.elem_type
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", kind, list(names)))
    return model


def ends_with(model: ModelProto, *nodes: onnx.NodeProto, shape: Sequence[int | str]) -> ModelProto:
    """Operators behind the logits; the last one's output is the model's."""
    model.graph.node.extend(nodes)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, list(shape))
    )
    return model


def one_score(model: ModelProto, positive: int = 0, sigmoid: bool = False) -> ModelProto:
    """A single score for class `positive` against the others, a logit: its own minus the largest
    other one's; or the sigmoid of it."""
    others = [index for index in range(4) if index != positive]
    tensor(model, "own", np.array([positive]))
    tensor(model, "others", np.array(others))
    nodes = [
        helper.make_node("Gather", ["logits", "own"], ["a"], axis=1, name="own"),
        helper.make_node("Gather", ["logits", "others"], ["b"], axis=1, name="others"),
        helper.make_node("ReduceMax", ["b"], ["c"], axes=[1], name="largest"),
        helper.make_node("Sub", ["a", "c"], ["score"], name="score"),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["score"], ["p"], name="sigmoid"))
    return ends_with(model, *nodes, shape=[1, 1])


def add_output(model: ModelProto, name: str, kind: int, shape: Sequence[int | str]) -> None:
    model.graph.output.append(helper.make_tensor_value_info(name, kind, list(shape)))


def label_and_zipmap(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """A label and a dictionary of scores, as scikit-learn's and Windows ML's converters give."""
    model.graph.node.extend(
        [
            helper.make_node("Softmax", ["logits"], ["scores"], name="softmax"),
            helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0, name="argmax"),
            helper.make_node(
                "ZipMap",
                ["scores"],
                ["dictionary"],
                domain="ai.onnx.ml",
                classlabels_strings=list(names),
            ),
        ]
    )
    del model.graph.output[:]
    add_output(model, "label", TensorProto.INT64, [1])
    found = helper.make_empty_tensor_value_info("dictionary")
    entry = found.type.sequence_type.elem_type.map_type
    entry.key_type = TensorProto.STRING
    entry.value_type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.output.append(found)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return model


def normalising(
    model: ModelProto, mean: float | Sequence[float], std: float | Sequence[float]
) -> ModelProto:
    """(x - mean) / std in front of the network."""
    for name, values in (("mean", mean), ("std", std)):
        tensor(model, name, np.float32(values).reshape(1, -1, 1, 1))
    model.graph.node[0].input[0] = "normalised"
    return in_front(
        model,
        [
            helper.make_node("Sub", ["image", "mean"], ["centred"], name="centre"),
            helper.make_node("Div", ["centred", "std"], ["normalised"], name="scale"),
        ],
    )


def of_type(model: ModelProto, kind: int) -> ModelProto:
    """An input of another type, cast to float32."""
    model.graph.input[0].type.tensor_type.elem_type = kind
    model.graph.node[0].input[0] = "real"
    cast = helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT, name="cast")
    return in_front(model, [cast])


def half(model: ModelProto) -> ModelProto:
    """All of it in float16, which changes answers within that precision."""
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def int8_input(
    model: ModelProto, scale: float, zero: int, how: str, kind: type = np.int8
) -> ModelProto:
    """A stored input behind a DequantizeLinear, its scale and zero point as 'initialisers', as
    'constants' (nodes), or with the image moved before (a 'transpose' from NHWC, a 'reshape')."""
    values = {"s": np.float32(scale), "z": kind(zero)}
    nodes = []
    for name, value in values.items():
        if how == "constants":
            made = numpy_helper.from_array(np.asarray(value))
            nodes.append(helper.make_node("Constant", [], [name], value=made))
        else:
            tensor(model, name, value)
    source, shape = "image", [1, 3, SIZE, SIZE]
    if how == "transpose":
        source, shape = "moved", [1, SIZE, SIZE, 3]
        nodes.append(helper.make_node("Transpose", ["image"], [source], perm=[0, 3, 1, 2]))
    if how == "reshape":
        source = "moved"
        tensor(model, "shape", np.array([1, 3, SIZE, SIZE]))
        nodes.append(helper.make_node("Reshape", ["image", "shape"], [source]))
    nodes.append(helper.make_node("DequantizeLinear", [source, "s", "z"], ["real"]))
    model.graph.node[0].input[0] = "real"
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info(
            "image", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape
        )
    )
    return in_front(model, nodes)


#: Habits that change no answer.
SAME_ANSWERS: dict[str, Callable[[ModelProto], ModelProto]] = {
    "as it is": lambda model: model,
    "constants as nodes": constants_as_nodes,
    "nameless": nameless,
    "one name": lambda model: nameless(model, "node"),
    "unsorted": unsorted,
    "functions": in_functions,
    "weights as inputs": weights_as_inputs,
    "all axes open": lambda model: open_axes(model, ["n", "c", "h", "w"]),
    "unnamed axes": lambda model: open_axes(model, [None, None, None, None]),
}


def small_model(habit: str) -> ModelProto:
    return SAME_ANSWERS[habit](onnx_model())
