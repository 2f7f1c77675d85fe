"""Parallel blocks: chains of operators that read one tensor and join in a Concat of channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from trimtab.variants.slimming.network.network import Network, Region, is_region
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    KEEPS_SIGN,
    POOLINGS,
    Conv,
    chain_to,
    convs_of,
    said_nodes,
)
from trimtab.variants.slimming.rules.patterns.windows import attributes_of

if TYPE_CHECKING:
    import onnx

_CHAIN = frozenset({"Conv", *ACTIVATIONS, *KEEPS_SIGN})


@dataclass(frozen=True, eq=False)
class Branch:
    """A chain of a parallel block; `convs` are those among its `nodes`."""

    nodes: tuple[onnx.NodeProto, ...]
    convs: tuple[Conv, ...]

    @property
    def large(self) -> bool:
        """Whether it has a kernel larger than 1x1."""
        return any(conv.size > 1 for conv in self.convs)

    @property
    def pooled(self) -> bool:
        """Whether it pools before its last convolution."""
        return any(node.op_type in POOLINGS for node in self.before)

    @property
    def last(self) -> Conv:
        """Its last convolution."""
        return self.convs[-1]

    @cached_property
    def before(self) -> tuple[onnx.NodeProto, ...]:
        """What lies before its last convolution."""
        return self.nodes[: self._place]

    @cached_property
    def behind(self) -> tuple[onnx.NodeProto, ...]:
        """What lies behind its last convolution."""
        return self.nodes[self._place + 1 :]

    @cached_property
    def _place(self) -> int:
        names = [node.output[0] for node in self.nodes]
        return names.index(self.last.output)


@dataclass(frozen=True, eq=False)
class ParallelBlock:
    """Branches, at least two, in the order of their channels."""

    start: str
    end: str
    branches: tuple[Branch, ...]


def parallel_blocks(network: Network) -> Iterator[ParallelBlock]:
    """The parallel blocks of a network whose branches are chains of convolutions with constant
    weights, activations, poolings and LRN; every branch has a convolution."""
    for node in network.model.graph.node:
        if node.op_type != "Concat" or attributes_of(node)["axis"] not in (1, -3):
            continue
        chains = [chain_to(network, tensor, _CHAIN) for tensor in node.input]
        starts = {start for start, _ in chains}
        branches = []
        for _, nodes in chains:
            convs = convs_of(network, nodes)
            if convs:
                branches.append(Branch(nodes, convs))
        if len(starts) != 1 or len(branches) != len(chains) or len(chains) < 2:
            continue
        (start,) = starts
        if is_region(network, Region(start, node.output[0])):
            yield ParallelBlock(start, node.output[0], tuple(branches))


def said_parallel(
    network: Network, block: ParallelBlock, maps: Mapping[str, int] | None = None
) -> str:
    """A parallel block in a note; `maps` as in :func:`said_nodes`."""
    return " | ".join(said_nodes(network, branch.nodes, maps) for branch in block.branches)
