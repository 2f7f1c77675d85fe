"""Graphs in half precision as graphs in float32, which quantisation starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.files.graphs import every_graph

if TYPE_CHECKING:
    import onnx


def widen(model: onnx.ModelProto) -> None:
    """All that is float16 becomes float32, in place, but for the image: a Cast follows it.

    Engines have integer kernels between float32 tensors, not between float16 ones.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    images = [
        value.name
        for value in graph.input
        if value.name not in constants and value.type.tensor_type.elem_type == TensorProto.FLOAT16
    ]
    for inner in list(every_graph(graph)):
        _widen_graph(inner)
    for name in images:
        next(
            v for v in graph.input if v.name == name
        ).type.tensor_type.elem_type = TensorProto.FLOAT16
        wide = f"{name}_as_float32"
        for node in graph.node:
            node.input[:] = [wide if read == name else read for read in node.input]
        cast = helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT, name=wide)
        graph.node.insert(0, cast)


def _widen_graph(graph: onnx.GraphProto) -> None:
    from onnx import TensorProto

    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            _widen_tensor(attribute.t)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.FLOAT16:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
