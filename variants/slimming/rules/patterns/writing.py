"""Writing a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.dataflow import multiply_accumulates
from trimtab.variants.slimming.network.network import Network, Region
from trimtab.variants.slimming.network.splicing import INPUT, OUTPUT, rename
from trimtab.variants.slimming.rules.patterns.reading import Array
from trimtab.variants.slimming.rules.patterns.windows import Window

if TYPE_CHECKING:
    import onnx


class BlockWriter:
    """Collects the nodes of a block for a region; tensors are named by what makes them, such as
    `conv1` and its weights `conv1.weight` and `conv1.bias`. It begins with `INPUT`."""

    def __init__(self, network: Network, region: Region) -> None:
        self._network, self._region = network, region
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def conv(self, source: str, weight: Array, bias: Array, window: Window, group: int = 1) -> str:
        """A convolution of the window's stride and padding."""
        from onnx import numpy_helper

        name = self._name("Conv")
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        for said, value in zip(inputs[1:], (weight, bias), strict=True):
            content = np.ascontiguousarray(value, np.float32)
            self._constants.append(numpy_helper.from_array(content, said))
        return self.node(
            "Conv",
            inputs,
            kernel_shape=weight.shape[2:],
            strides=window.stride,
            pads=window.pads,
            group=group,
        )

    def constant(self, value: np.ndarray[Any, Any] | np.generic) -> str:
        """Numbers that are not learned: one float, or integers."""
        from onnx import numpy_helper

        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Any operator with one output."""
        from onnx import helper

        name = self._name(operator)
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def copy(self, source: str, nodes: Sequence[onnx.NodeProto], start: str | None = None) -> str:
        """Nodes of the network in order, the last one's output the result, what the first
        reads (or `start`) replaced by `source`."""
        import onnx

        if not nodes:
            return source
        now = {start if start is not None else nodes[0].input[0]: source}
        for node in nodes:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            name = self._name(node.op_type)
            inputs = [now.get(n) or self._constant(n, name) for n in node.input]
            del copied.input[:], copied.output[:]
            copied.name = name
            copied.input.extend(inputs)
            copied.output.append(name)
            now[node.output[0]] = name
            self._nodes.append(copied)
        return now[nodes[-1].output[0]]

    def model(self, end: str) -> onnx.ModelProto:
        """The block that ends in `end`. Raises ValueError where its shape is not the region's."""
        import onnx
        from onnx import helper

        shapes = self._network.shapes
        wanted = shapes[self._region.end]
        ends = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[tensor])
            for name, tensor in ((INPUT, self._region.start), (OUTPUT, self._region.end))
        ]
        graph = helper.make_graph(self._nodes, "block", ends[:1], ends[1:], self._constants)
        model = helper.make_model(
            graph,
            opset_imports=self._network.model.opset_import,
            ir_version=self._network.model.ir_version,
            producer_name=self._network.model.producer_name,
        )
        rename(model.graph, {end: OUTPUT})
        found = block_shapes_of(model)[OUTPUT][1]
        if found != wanted:
            raise ValueError(f"the block's output has shape {found}, its region {wanted}")
        return model

    def _name(self, operator: str) -> str:
        return f"{operator.lower()}{1 + sum(n.op_type == operator for n in self._nodes)}"

    def _constant(self, name: str, reader: str) -> str:
        """A constant of the network under a name of this block; optional inputs stay empty."""
        import onnx

        if not name:
            return ""
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self._network.weights[name])
        tensor.name = f"{reader}.{len(self._constants)}"
        self._constants.append(tensor)
        return str(tensor.name)


def block_shapes_of(model: onnx.ModelProto) -> Mapping[str, tuple[int, tuple[int | None, ...]]]:
    """Element type and shape of a block's tensors; the output's as it follows from the input."""
    import onnx

    free = onnx.ModelProto()
    free.CopyFrom(model)
    free.graph.output[0].type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(free, strict_mode=True, data_prop=True).graph
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
        )
        for value in [*graph.input, *graph.value_info, *graph.output]
    }
    return found | {t.name: (t.data_type, tuple(t.dims)) for t in graph.initializer}


def block_work(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of a block for one image."""
    shapes = block_shapes_of(model)
    return sum(multiply_accumulates(node, shapes) or 0 for node in model.graph.node)


def maps_of(model: onnx.ModelProto, conv: onnx.NodeProto) -> int:
    """How many maps a convolution with constant weights makes."""
    return next(int(t.dims[0]) for t in model.graph.initializer if t.name == conv.input[1])
