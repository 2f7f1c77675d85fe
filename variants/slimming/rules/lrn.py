"""Local response normalisation by operators that run in vectors, with the same result.

Engines compute LRN (Krizhevsky, Sutskever, Hinton, NIPS 2012) number by number, a power each: in
onnxruntime it may take a third of GoogLeNet's time. Nothing is lost here and nothing learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.slimming.network.network import Network, Region
from trimtab.variants.slimming.network.splicing import INPUT
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.reading import said_nodes
from trimtab.variants.slimming.rules.patterns.writing import BlockWriter

if TYPE_CHECKING:
    import onnx

_PADS_BY_TENSOR = 11
"""The first version of ONNX's operators in which Pad takes its sides as this block gives them."""


def lrn(network: Network) -> Iterator[Proposal]:
    """One proposal for every LRN of feature maps: squares, their sum over a window of channels,
    roots or a power, and a division."""
    versions = {o.domain: o.version for o in network.model.opset_import}
    if versions.get("", versions.get("ai.onnx", 0)) < _PADS_BY_TENSOR:
        return
    for node in network.model.graph.node:
        if node.op_type == "LRN" and len(network.shapes.get(node.input[0], ())) == 4:
            region = Region(node.input[0], node.output[0])
            note = f"{said_nodes(network, [node])} -> squares summed over channels"
            yield Proposal("lrn", region, _block(network, region, node), note)


def _block(network: Network, region: Region, node: onnx.NodeProto) -> onnx.ModelProto:
    """input / (bias + alpha / size * sum of squares over the window) ** beta."""
    from onnx import helper

    said: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    size, channels = int(said["size"]), network.shapes[region.start][1]
    block = BlockWriter(network, region)
    scale = np.sqrt(said.get("alpha", 1e-4) / size)
    scaled = block.node("Mul", [INPUT, block.constant(np.float32(scale))])
    squares = block.node("Mul", [scaled, scaled])
    total = _window_sums(block, squares, size, channels)
    base = block.node("Add", [total, block.constant(np.float32(said.get("bias", 1.0)))])
    divisor = _power(block, base, float(np.float32(said.get("beta", 0.75))))
    return block.model(block.node("Div", [INPUT, divisor]))


def _window_sums(block: BlockWriter, source: str, size: int, channels: int) -> str:
    """The sum over channels i - (size - 1) // 2 to i + size // 2 for each i, those that are not
    there being 0: sums of 1, 2, 4, ... channels, and of these those that make up the window."""
    before = (size - 1) // 2
    pads = np.array([0, before, 0, 0, 0, size - 1 - before, 0, 0])
    part = block.node("Pad", [source, block.constant(pads)])
    width, length = 1, channels + size - 1  # a sum's channels; how many such sums there are

    def from_channel(first: int, count: int) -> str:
        bounds = [block.constant(np.array([n])) for n in (first, first + count, 1)]
        return block.node("Slice", [part, *bounds])

    total, summed = "", 0
    while True:
        if size & width:
            piece = from_channel(summed, channels)
            total = block.node("Add", [total, piece]) if total else piece
            summed += width
        if summed == size:
            return total
        length -= width
        part = block.node("Add", [from_channel(0, length), from_channel(width, length)])
        width *= 2


def _power(block: BlockWriter, base: str, exponent: float) -> str:
    if exponent == 1.0:
        return base
    if exponent not in (0.5, 0.75):
        return block.node("Pow", [base, block.constant(np.float32(exponent))])
    root = block.node("Sqrt", [base])
    if exponent == 0.5:
        return root
    return block.node("Mul", [root, block.node("Sqrt", [root])])
