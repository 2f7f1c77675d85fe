"""Leaving out a normalisation between or behind pooling, where the pooling stays.

What streamline slimming (Li, Wang, Kong, "DeepRebirth", AAAI 2018) takes into a convolution
together with the pooling, without making the convolution skip pixels: for networks on small
images, whose first maps are small already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.variants.slimming.network.network import Network, Region
from trimtab.variants.slimming.network.splicing import INPUT
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    POOLINGS,
    Conv,
    only_reader,
    read_conv,
    said_nodes,
)
from trimtab.variants.slimming.rules.patterns.writing import BlockWriter

if TYPE_CHECKING:
    import onnx


def normalisation(network: Network) -> Iterator[Proposal]:
    """One proposal for every LRN that follows a convolution with pooling, and perhaps an
    activation, between: the same without the LRN. (Without pooling it is streamline's.)"""
    for node in network.model.graph.node:
        conv = read_conv(network, node)
        if conv is not None:
            yield from _behind(network, conv)


def _behind(network: Network, conv: Conv) -> Iterator[Proposal]:
    chain, kept = [conv.node], [conv.node]
    tensor = conv.output
    while (node := only_reader(network, tensor)) is not None:
        tensor = node.output[0]
        chain.append(node)
        if node.op_type in ACTIVATIONS | POOLINGS:
            kept.append(node)
        elif node.op_type != "LRN":
            return
        elif any(before.op_type in POOLINGS for before in kept):
            note = f"{said_nodes(network, chain)} -> {said_nodes(network, kept)}"
            region = Region(conv.source, tensor)
            yield Proposal("normalisation", region, _block(network, region, kept), note)


def _block(network: Network, region: Region, kept: list[onnx.NodeProto]) -> onnx.ModelProto:
    block, end = BlockWriter(network, region), INPUT
    for node in kept:
        end = block.copy(end, [node])
    return block.model(end)
