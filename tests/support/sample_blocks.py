"""Blocks to learn: small ONNX models with an input `input` and an output `output`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def make_block(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    start: Sequence[int],
    end: Sequence[int],
    opset: int = 17,
) -> onnx.ModelProto:
    """A block of these nodes; `start` and `end` are the shapes of its input and output."""
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, start)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, end)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def conv_block(
    start: Sequence[int],
    end: Sequence[int],
    size: int = 3,
    seed: int = 0,
    pads: int | None = None,
    groups: int = 1,
    opset: int = 17,
) -> onnx.ModelProto:
    """Conv and Relu with random weights; the stride follows from the shapes."""
    around = size // 2 if pads is None else pads
    stride = next(s for s in range(1, 99) if (start[2] + 2 * around - size) // s + 1 == end[2])
    fan_in = start[1] // groups * size**2
    weights = {
        "w": normal(end[1], start[1] // groups, size, size, seed=seed, scale=fan_in**-0.5),
        "b": normal(end[1], seed=seed + 1, scale=0.1),
    }
    nodes = [
        helper.make_node(
            "Conv",
            ["input", "w", "b"],
            ["c"],
            strides=[stride] * 2,
            pads=[around] * 4,
            group=groups,
        ),
        helper.make_node("Relu", ["c"], ["output"]),
    ]
    return make_block(nodes, weights, start, end, opset)


def run_model(model: onnx.ModelProto, images: Array) -> Array:
    """float32 (n, ...) of images (n, C, H, W), one by one, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
