"""Keeping onnxruntime's blocked layout across a cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.files.dataflow import Flow
from trimtab.variants.files.graphs import free_name, read_names

if TYPE_CHECKING:
    import onnx

_BLOCK = 16  # channels: the widest block that onnxruntime uses (AVX-512); others divide it
_BLOCKS = {"AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}
_JOINS = {"Add", "Concat", "Mul", "Sum"}
_KEEPS = {"BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"}


def blocked_tensors(flow: Flow) -> set[str]:
    """Tensors of the graph that onnxruntime keeps in blocks of channels (NCHWc).

    Convolutions and poolings block; activations keep it; a join is blocked where all it joins is.
    """
    found: set[str] = set()
    for node in flow.nodes:
        joined = node.op_type in _JOINS and found.issuperset(node.input)
        kept = node.op_type in _KEEPS and node.input[0] in found
        if node.op_type in _BLOCKS or joined or kept:
            found.update(node.output)
    return found


def block_input(model: onnx.ModelProto) -> None:
    """Let the operators that read the segment's one input read the same blocked copy of it.

    A shortcut that comes straight from a segment's input is not blocked: its Add is then fused
    with no Conv, and so on for every Add behind it. That is a little slower, and rounds otherwise.
    Behind a MaxPool of one pixel, or where the channels do not fill whole blocks a Conv with the
    identity, the shortcut is blocked as in the whole graph; neither changes a value. Does nothing
    where one operator reads the input, or where it is not float32. As seen in onnxruntime 1.31.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    start, value = graph.input[0].name, graph.input[0].type.tensor_type
    readers = [node for node in graph.node if start in node.input]
    channels = value.shape.dim[1].dim_value if len(value.shape.dim) == 4 else 0
    if value.elem_type != TensorProto.FLOAT or len(readers) < 2 or not channels:
        return
    taken = {name for node in graph.node for name in (*read_names(node), *node.output)}
    blocked = free_name(f"{start}_blocked", taken)
    for node in readers:
        for index, name in enumerate(node.input):
            if name == start:
                node.input[index] = blocked
    if channels % _BLOCK == 0:
        bridge = helper.make_node("MaxPool", [start], [blocked], kernel_shape=[1, 1])
    else:
        weight = free_name(f"{blocked}_weight", taken)
        identity = np.eye(channels, dtype=np.float32)[:, :, None, None]
        graph.initializer.append(numpy_helper.from_array(identity, weight))
        bridge = helper.make_node("Conv", [start, weight], [blocked], kernel_shape=[1, 1])
    nodes = [bridge, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
