"""What an ONNX graph does first with its image: dequantise it, normalise it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.files.base import Array, Normalisation
from trimtab.variants.files.graphs import readers_of
from trimtab_runtime.definitions.plan import Quantisation

if TYPE_CHECKING:
    import onnx

#: Operators that move pixels about, or leave them as they are, without a change of value.
_MOVES = {
    *("Cast", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Resize", "Slice", "Squeeze"),
    *("Transpose", "Unsqueeze", "Upsample"),
}
#: Operators that, in front of all others, change no pixel that is in its range.
_LIMITS = {"Clip", "Round"}
#: A graph that takes off or divides by as much as this is fed pixels of 0..255.
_PIXEL_STEP = 8.0
#: A BatchNormalization of an input whose learned mean is less has seen normalised images.
_CENTRED = 0.2


def input_quantisation(graph: onnx.GraphProto, image: str) -> Quantisation | None:
    """Scale and zero point by which all readers dequantise the image, wherever these constants
    stand and whatever moves the image before; None where there are none, or several."""
    constants, readers = constant_values(graph), readers_of(graph.node)
    found = set()
    waiting = [image]
    while waiting:
        name = waiting.pop()
        for node in readers.get(name, ()):
            if node.op_type == "DequantizeLinear" and node.input[0] == name:
                found.add(linear(node, constants))
            elif node.op_type in _MOVES - {"Cast"} and node.input[0] == name:
                waiting.append(node.output[0])
            elif node.op_type != "Shape":
                return None
    return next(iter(found)) if len(found) == 1 else None


def linear(node: onnx.NodeProto, constants: Mapping[str, Array]) -> Quantisation | None:
    """Scale and zero point of a (De)QuantizeLinear with constant, per-tensor parameters."""
    if any(name and name not in constants for name in node.input[1:]):
        return None
    values = [constants[name] for name in node.input[1:] if name]
    if not values or any(value.size != 1 for value in values):
        return None
    zero = int(values[1].reshape(-1)[0]) if len(values) > 1 else 0
    return Quantisation(float(values[0].reshape(-1)[0]), zero)


def inner_normalisation(graph: onnx.GraphProto, image: str, channels: int) -> Normalisation | None:
    """The (mean, std), one or one a channel, that the graph itself takes off the values that it is
    fed and divides them by, before its first layer; None where it does neither, or what it does
    may as well be a first layer behind another normalisation."""
    constants, readers = constant_values(graph), readers_of(graph.node)
    factor, shift, seen = np.ones(1), np.zeros(1), False
    name = image
    while True:
        users = [node for node in readers.get(name, ()) if node.op_type != "Shape"]
        if len(users) != 1:
            break
        node = users[0]
        if node.op_type not in _MOVES and (seen or node.op_type not in _LIMITS):
            step = _affine(node, name, constants, channels)
            if step is None:
                break
            factor, shift, seen = factor * step[0], shift * step[0] + step[1], True
        name = node.output[0]
    if not seen or not np.all(factor) or (np.all(factor == 1) and not np.any(shift)):
        return None
    return _short(-shift / factor), _short(1 / factor)


def fed_range(inside: Normalisation) -> str:
    """What a graph that takes off and divides by (mean, std) itself is to be fed: '0..255' where
    either is as large as pixels are, '-1..1' where what it takes off is below zero, else
    '0..1'."""
    mean, std = inside
    if max(map(abs, (*mean, *std))) >= _PIXEL_STEP:
        return "0..255"
    return "-1..1" if sum(mean) < 0 else "0..1"


def constant_values(graph: onnx.GraphProto) -> dict[str, Array]:
    """Small constants by name, whether initialisers or what Constant nodes hold."""
    return dict(_constants(graph))


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, Array]]:
    from onnx import TensorProto, helper, numpy_helper

    most = 4096
    for tensor in graph.initializer:
        if np.prod(tensor.dims) <= most and tensor.data_location != TensorProto.EXTERNAL:
            yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type != "Constant":
            continue
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if attribute.name == "value" and np.prod(value.dims) <= most:
                yield node.output[0], numpy_helper.to_array(value)
            elif attribute.name in ("value_float", "value_int"):
                yield node.output[0], np.asarray(value)


def _affine(
    node: onnx.NodeProto, name: str, constants: Mapping[str, Array], channels: int
) -> tuple[Array, Array] | None:
    """Factor and shift (1,) or (channels,) of an operator that is y = factor * x + shift."""
    if node.op_type == "BatchNormalization" and len(node.output) == 1:
        return _batch_normalisation(node, constants)
    if node.op_type not in ("Add", "Div", "Mul", "Sub") or len(node.input) != 2:
        return None
    first = node.input[0] == name
    other = constants.get(node.input[1 if first else 0])
    if other is None or other.size not in (1, channels) or (not first and node.op_type == "Div"):
        return None
    value = other.astype(np.float64).reshape(-1)
    one, zero = np.ones(1), np.zeros(1)
    return {
        "Add": (one, value),
        "Sub": (one, -value) if first else (-one, value),
        "Mul": (value, zero),
        "Div": (1 / value if np.all(value) else one * 0, zero),
    }[node.op_type]


def _batch_normalisation(
    node: onnx.NodeProto, constants: Mapping[str, Array]
) -> tuple[Array, Array] | None:
    if any(name not in constants for name in node.input[1:5]):
        return None
    scale, bias, mean, variance = (constants[n].astype(np.float64) for n in node.input[1:5])
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    if np.abs(mean).max() < _CENTRED:
        return None
    factor = scale / np.sqrt(variance + epsilon)
    return factor, bias - mean * factor


def _short(values: Array) -> tuple[float, ...]:
    """Six digits of each, one where all are equal."""
    found = tuple(float(f"{value:.6g}") + 0.0 for value in values)
    return found[:1] if len(set(found)) == 1 else found
