"""What rules read in a network: convolutions, poolings, scales, and chains of operators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.files.dataflow import multiply_accumulates
from trimtab.variants.slimming.network.network import Network, Region, region_nodes
from trimtab.variants.slimming.rules.patterns.windows import (
    Pair,
    Window,
    attributes_of,
    read_window,
)

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]

ACTIVATIONS = frozenset(
    {"Clip", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Relu", "Selu", "Softplus"}
)
"""Element-wise, the same for every channel. (PRelu has a weight for each.)"""
POOLINGS = frozenset({"AveragePool", "MaxPool"})
KEEPS_SIGN = frozenset({"LRN", *POOLINGS})


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution with constant weights (maps, inputs / group, rows, columns) and bias
    (maps,)."""

    node: onnx.NodeProto
    weight: Array
    bias: Array
    window: Window
    group: int

    @property
    def source(self) -> str:
        """The tensor that it reads."""
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        """The tensor that it makes."""
        return str(self.node.output[0])

    @property
    def maps(self) -> int:
        """Maps that it makes."""
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        """Maps that it reads."""
        return int(self.weight.shape[1]) * self.group

    @property
    def pointwise(self) -> bool:
        """Whether it is 1x1 and sees all maps."""
        return self.window.kernel == (1, 1) and self.group == 1

    @property
    def depthwise(self) -> bool:
        """Whether every map is made of one."""
        return self.group == self.inputs > 1

    @property
    def size(self) -> int:
        """Kernel's area in pixels."""
        return math.prod(self.window.kernel)


def read_conv(network: Network, node: onnx.NodeProto) -> Conv | None:
    """The node as a convolution over maps with constant weights, not dilated; None otherwise."""
    from onnx import numpy_helper

    constants = [network.weights.get(name) for name in node.input[1:] if name]
    if node.op_type != "Conv" or any(tensor is None for tensor in constants):
        return None
    weight, *rest = [numpy_helper.to_array(t) for t in constants if t is not None]
    window = _window(network, node, weight.shape[2:])
    if window is None:
        return None
    bias = rest[0] if rest else np.zeros(len(weight), np.float32)
    return Conv(node, weight, bias, window, int(attributes_of(node).get("group", 1)))


def read_pooling(network: Network, node: onnx.NodeProto) -> Window | None:
    """The node's window where it is a pooling over maps, not dilated; None otherwise."""
    if node.op_type not in POOLINGS or len(node.output) != 1:
        return None
    return _window(network, node, tuple(attributes_of(node)["kernel_shape"]))


def _window(network: Network, node: onnx.NodeProto, kernel: tuple[int, ...]) -> Window | None:
    if len(kernel) != 2:
        return None
    before, after = (side(network, name) for name in (node.input[0], node.output[0]))
    return read_window(attributes_of(node), (kernel[0], kernel[1]), before, after)


def read_affine(network: Network, node: onnx.NodeProto) -> tuple[Array, Array] | None:
    """(scale, shift), each (maps,), of a node that scales and shifts every map by constants;
    None otherwise."""
    from onnx import numpy_helper

    constants = [
        numpy_helper.to_array(network.weights[n]) for n in node.input if n in network.weights
    ]
    shape = network.shapes[node.output[0]]
    if len(shape) != 4 or len(constants) != len(node.input) - 1:
        return None
    maps, one = shape[1], np.ones(shape[1], np.float32)
    if node.op_type == "BatchNormalization" and len(node.output) == 1:
        gain, shift, mean, variance = constants
        epsilon = attributes_of(node).get("epsilon", 1e-5)
        scale: Array = (gain / np.sqrt(variance + epsilon)).astype(np.float32)
        return scale, (shift - mean * scale).astype(np.float32)
    if node.op_type not in ("Mul", "Add", "Sub", "Div") or node.input[0] in network.weights:
        return None
    (constant,) = constants
    per_map = np.broadcast_shapes(constant.shape, (1, maps, 1, 1)) == (1, maps, 1, 1)
    if not per_map:
        return None
    value = np.broadcast_to(constant, (1, maps, 1, 1)).reshape(maps).astype(np.float32)
    if node.op_type in ("Mul", "Div"):
        scale = value if node.op_type == "Mul" else one / value
        return scale, 0 * one
    return one, (value if node.op_type == "Add" else -value)


def side(network: Network, tensor: str) -> Pair:
    """Height and width of maps."""
    shape = network.shapes[tensor]
    return (shape[2], shape[3]) if len(shape) == 4 else (0, 0)


def only_reader(network: Network, tensor: str) -> onnx.NodeProto | None:
    """The node that alone reads a tensor, once; None where there are several or it is the
    network's output."""
    readers = network.readers.get(tensor, ())
    if tensor == network.output or len(readers) != 1 or list(readers[0].input).count(tensor) != 1:
        return None
    return readers[0]


def chain_to(
    network: Network, tensor: str, operators: frozenset[str]
) -> tuple[str, tuple[onnx.NodeProto, ...]]:
    """The longest chain of such operators that ends in `tensor`: where it begins, and its nodes
    in order. Every tensor in it, `tensor` included, has one reader; other inputs of its nodes are
    constants."""
    nodes: list[onnx.NodeProto] = []
    while only_reader(network, tensor) is not None and tensor in network.makers:
        node = network.makers[tensor]
        varying = [n for n in node.input if n and n not in network.weights]
        if node.op_type not in operators or len(node.output) != 1 or len(varying) != 1:
            break
        if varying[0] != node.input[0]:
            break
        nodes.append(node)
        tensor = varying[0]
    return tensor, tuple(reversed(nodes))


def convs_of(network: Network, nodes: Sequence[onnx.NodeProto]) -> tuple[Conv, ...] | None:
    """The convolutions among nodes; None where one of them cannot be read."""
    found = [read_conv(network, node) for node in nodes if node.op_type == "Conv"]
    known = tuple(conv for conv in found if conv is not None)
    return known if len(known) == len(found) else None


def same_functions(
    network: Network, first: Sequence[onnx.NodeProto], second: Sequence[onnx.NodeProto]
) -> bool:
    """Whether two chains of activations do the same."""
    from onnx import numpy_helper

    def said(node: onnx.NodeProto) -> list[Any]:
        constants = [network.weights[name] for name in node.input[1:] if name]
        values = [numpy_helper.to_array(tensor).tobytes() for tensor in constants]
        given = [bool(name) for name in node.input]
        return [node.op_type, given, values, sorted(attributes_of(node).items())]

    return list(map(said, first)) == list(map(said, second))


def work(network: Network, region: Region) -> int:
    """Multiply-accumulates of a region for one image."""
    shapes = {name: (1, shape) for name, shape in network.shapes.items()}
    nodes = region_nodes(network, region)
    return sum(multiply_accumulates(node, shapes) or 0 for node in nodes)


def said_conv(conv: Conv, maps: int | None = None) -> str:
    """A convolution in a note, such as 'Conv 7x7/2 64', with another number of maps if given."""
    kind = " depthwise" if conv.depthwise else ""
    return f"Conv {said_window(conv.window.kernel, conv.window.stride)} {maps or conv.maps}{kind}"


def said_window(kernel: Pair, stride: Pair) -> str:
    """A window in a note, such as '3x3/2'."""
    rows, columns = stride
    step = "" if stride == (1, 1) else f"/{rows}" if rows == columns else f"/{rows}x{columns}"
    return f"{kernel[0]}x{kernel[1]}{step}"


def said_nodes(
    network: Network, nodes: Sequence[onnx.NodeProto], maps: Mapping[str, int] | None = None
) -> str:
    """Nodes in a note, activations left out; `maps` are other numbers of maps by tensor."""
    said = []
    for node in nodes:
        conv, pooling = read_conv(network, node), read_pooling(network, node)
        if conv is not None:
            said.append(said_conv(conv, (maps or {}).get(conv.output)))
        elif pooling is not None:
            said.append(f"{node.op_type} {said_window(pooling.kernel, pooling.stride)}")
        elif node.op_type not in ACTIVATIONS:
            said.append(node.op_type)
    return " > ".join(said)
