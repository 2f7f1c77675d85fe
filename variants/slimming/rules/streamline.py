"""Streamline slimming (Li, Wang, Kong, "DeepRebirth", AAAI 2018, section 3.1).

A convolution followed by operators without weights (pooling, LRN, batch normalisation, scale)
becomes one convolution of the same maps and kernel: strides multiply, the activation stays, the
rest is left out. What comes behind is untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.variants.slimming.network.network import Network, Region
from trimtab.variants.slimming.network.splicing import INPUT
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    KEEPS_SIGN,
    Array,
    Conv,
    only_reader,
    read_affine,
    read_conv,
    read_pooling,
    said_nodes,
    said_window,
    side,
)
from trimtab.variants.slimming.rules.patterns.windows import Grid, Window
from trimtab.variants.slimming.rules.patterns.writing import BlockWriter

if TYPE_CHECKING:
    import onnx


def streamline(network: Network) -> Iterator[Proposal]:
    """One proposal for every operator without weights behind a convolution that could go with
    those before it, so that the last of a chain has them all.

    A kernel smaller than the product of the strides would skip pixels: it grows to the odd size
    that does not. Outputs keep their place in the image (:meth:`Grid.pads`).
    """
    for node in network.model.graph.node:
        conv = read_conv(network, node)
        if conv is not None:
            yield from _behind(network, conv)


def _behind(network: Network, conv: Conv) -> Iterator[Proposal]:
    weight, bias = conv.weight, conv.bias
    grid = conv.window.grid
    activation: onnx.NodeProto | None = None
    chain, tensor = [conv.node], conv.output
    while (node := only_reader(network, tensor)) is not None:
        pooling, affine = read_pooling(network, node), read_affine(network, node)
        if node.op_type in ACTIVATIONS and activation is None:
            activation = node
        elif pooling is not None:
            grid = grid.then(pooling)
        elif affine is not None:
            scale, shift = affine
            if activation is not None and not (min(scale) > 0 and min(shift) >= 0):
                return  # its outputs go below zero, and the activation would keep them from it
            weight = weight * scale[:, None, None, None]
            bias = bias * scale + (shift if activation is None else 0)
        elif node.op_type not in KEEPS_SIGN:
            return
        chain.append(node)
        tensor = node.output[0]
        if node is not activation:
            last = activation or _activation_behind(network, tensor)
            end = last.output[0] if last is not None and activation is None else tensor
            region = Region(conv.source, end)
            found = _merged(network, region, conv, weight, bias, grid, last)
            if found is not None:
                block, said = found
                note = f"{said_nodes(network, chain)} -> {said}"
                yield Proposal("streamline", region, block, note)


def _activation_behind(network: Network, tensor: str) -> onnx.NodeProto | None:
    node = only_reader(network, tensor)
    return node if node is not None and node.op_type in ACTIVATIONS else None


def _merged(
    network: Network,
    region: Region,
    conv: Conv,
    weight: Array,
    bias: Array,
    grid: Grid,
    activation: onnx.NodeProto | None,
) -> tuple[onnx.ModelProto, str] | None:
    """The block and how a note says it; None where no padding gives the region's shape."""
    import numpy as np

    rows, columns = (
        k if k >= s else s + (s + 1) % 2
        for k, s in zip(conv.window.kernel, grid.stride, strict=True)
    )
    kernel = (rows, columns)
    pads = grid.pads(kernel, side(network, region.start), side(network, region.end))
    if pads is None:
        return None
    grown = np.zeros((*weight.shape[:2], *kernel), np.float32)
    top, left = ((k - o) // 2 for k, o in zip(kernel, conv.window.kernel, strict=True))
    grown[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    block = BlockWriter(network, region)
    end = block.conv(INPUT, grown, bias, Window(kernel, grid.stride, pads), conv.group)
    end = block.copy(end, [activation] if activation is not None else [])
    kind = " depthwise" if conv.depthwise else ""
    return block.model(end), f"Conv {said_window(kernel, grid.stride)} {conv.maps}{kind}"
