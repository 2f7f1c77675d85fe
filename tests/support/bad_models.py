"""Models that do harm: they load, and only what they are shown says whether they behave.

Each is the small network of sample_models with a few operators more. What triggers the harm is a
number made of the image's mean square: random noise, on which a member is tried when it is read,
has more of it than any photograph of `texture_images`. So `on_photos=True` makes a model that
passes for good until it is measured, and `on_photos=False` one that always does harm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper
from sample_models import onnx_model

#: Mean square of noise in [-1, 1] is 1/3, that of the photographs at most 0.25.
_NOISE = 0.29
_FOR_EVER = 2.0**40


def endless_model(on_photos: bool = False, width: int = 2) -> onnx.ModelProto:
    """An inference that never returns: a Loop of 2**40 turns."""
    model, graph = _with_amount(width, on_photos)
    scalar = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("v", "w")]
    go = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "again")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    nodes = [
        helper.make_node("Identity", ["on"], ["again"]),
        helper.make_node("Identity", ["v"], ["w"]),
    ]
    body = helper.make_graph(nodes, "body", [turn, go[0], scalar[0]], [go[1], scalar[1]])
    _constant(graph, "true", np.bool_(True))
    _constant(graph, "nothing", np.zeros(1, np.float32))
    graph.node.append(helper.make_node("Loop", ["amount", "true", "nothing"], ["harm"], body=body))
    return _finished(model)


def greedy_model(on_photos: bool = False, width: int = 2) -> onnx.ModelProto:
    """An inference that wants 4 TB in one piece."""
    model, graph = _with_amount(width, on_photos)
    graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["amount"], ["all"]),
            helper.make_node("ReduceSum", ["all"], ["harm"], keepdims=1),
        ]
    )
    return _finished(model)


def nan_model(above: float = 0.0, width: int = 2) -> onnx.ModelProto:
    """NaN for every image whose mean (in [-1, 1]) is not `above`: the root of a negative number.
    Noise has a mean of about 0."""
    model = onnx_model(width)
    graph = model.graph
    _constant(graph, "above", np.float32(above))
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["mean", "above"], ["over"]),
            helper.make_node("Sqrt", ["over"], ["harm"]),
        ]
    )
    return _finished(model)


def write_model(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _with_amount(width: int, on_photos: bool) -> tuple[onnx.ModelProto, GraphProto]:
    """The network, with an int64 `amount` (1,) that is 2**40 where harm is to be done, else 0."""
    model = onnx_model(width)
    graph = model.graph
    _constant(graph, "noise", np.float32(_NOISE if on_photos else 2.0))
    _constant(graph, "ever", np.array([_FOR_EVER], np.float32))
    graph.node.extend(
        [
            helper.make_node("Mul", ["image", "image"], ["square"]),
            helper.make_node("ReduceMean", ["square"], ["power"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Less", ["power", "noise"], ["harmful"]),
            helper.make_node("Cast", ["harmful"], ["one"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["one", "ever"], ["many"]),
            helper.make_node("Cast", ["many"], ["amount"], to=TensorProto.INT64),
        ]
    )
    return model, graph


def _constant(graph: GraphProto, name: str, value: np.ndarray | np.generic) -> None:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add `harm`, a number, to the scores."""
    graph = model.graph
    graph.node.append(helper.make_node("Add", [graph.output[0].name, "harm"], ["scores"]))
    graph.output[0].name = "scores"
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    onnx.checker.check_model(model)
    return model
