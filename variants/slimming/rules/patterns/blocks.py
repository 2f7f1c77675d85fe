"""Residual blocks and inverted residuals, as they are found in a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.variants.slimming.network.network import Network, Region, is_region
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    Conv,
    chain_to,
    convs_of,
    only_reader,
    read_conv,
    said_nodes,
)

if TYPE_CHECKING:
    import onnx

_MAIN = frozenset({"Conv", *ACTIVATIONS})
_SHORTCUT = frozenset({"AveragePool", "Conv", "Pad", "Slice"})


@dataclass(frozen=True, eq=False)
class Block:
    """Two or three convolutions in a chain, their activations between them, `nodes` all of it;
    and, where there is a shortcut, its nodes (none for the identity), the Add and the activation
    behind that."""

    start: str
    end: str
    nodes: tuple[onnx.NodeProto, ...]
    convs: tuple[Conv, ...]
    shortcut: tuple[onnx.NodeProto, ...] = ()
    add: onnx.NodeProto | None = None
    activation: onnx.NodeProto | None = None

    @property
    def region(self) -> Region:
        """From its start to its end."""
        return Region(self.start, self.end)

    @property
    def inverted(self) -> bool:
        """Whether it is an expansion, a depthwise convolution and a projection."""
        return (
            len(self.convs) == 3
            and self.convs[1].depthwise
            and self.convs[0].pointwise
            and self.convs[2].pointwise
            and self.convs[0].maps > self.convs[2].maps
        )


def residual_blocks(network: Network) -> Iterator[Block]:
    """Blocks with a shortcut: nothing, an average pooling and slices and padding (option A of He
    et al., 2016), or one 1x1 convolution."""
    for add in network.model.graph.node:
        if add.op_type != "Add" or any(name in network.weights for name in add.input):
            continue
        for main, other in (add.input, reversed(add.input)):
            found = _residual(network, add, main, other)
            if found is not None:
                yield found
                break


def _residual(network: Network, add: onnx.NodeProto, main: str, other: str) -> Block | None:
    start, nodes = chain_to(network, main, _MAIN)
    convs = convs_of(network, nodes)
    if convs is None or not 2 <= len(convs) <= 3 or all(conv.size == 1 for conv in convs):
        return None
    if nodes[0].op_type != "Conv" or nodes[-1].op_type != "Conv":
        return None
    begin, shortcut = (other, ()) if other == start else chain_to(network, other, _SHORTCUT)
    beside = convs_of(network, shortcut)
    if begin != start or beside is None or len(beside) > 1 or any(c.size > 1 for c in beside):
        return None
    after = only_reader(network, add.output[0])
    activation = after if after is not None and after.op_type in ACTIVATIONS else None
    end = (activation or add).output[0]
    block = Block(start, end, nodes, convs, shortcut, add, activation)
    return block if is_region(network, block.region) else None


def inverted_blocks(network: Network) -> Iterator[Block]:
    """Inverted residuals (Sandler et al., 2018) without a shortcut."""
    beside = {block.convs[-1].output for block in residual_blocks(network)}
    for node in network.model.graph.node:
        conv = read_conv(network, node)
        if conv is None or not conv.depthwise:
            continue
        nodes = [*_since_conv(network, conv.source), node, *_until_conv(network, conv.output)]
        convs = convs_of(network, nodes)
        if convs is None or nodes[-1].op_type != "Conv" or convs[-1].output in beside:
            continue
        found = Block(nodes[0].input[0], convs[-1].output, tuple(nodes), convs)
        if found.inverted and is_region(network, found.region):
            yield found


def _since_conv(network: Network, tensor: str) -> list[onnx.NodeProto]:
    """A convolution and the activations behind it that make a tensor."""
    nodes = chain_to(network, tensor, _MAIN)[1]
    places = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    return list(nodes[places[-1] :]) if places else []


def _until_conv(network: Network, tensor: str) -> list[onnx.NodeProto]:
    """Activations behind a tensor and the convolution behind them."""
    nodes: list[onnx.NodeProto] = []
    while (node := only_reader(network, tensor)) is not None and node.op_type in _MAIN:
        nodes.append(node)
        tensor = node.output[0]
        if node.op_type == "Conv":
            break
    return nodes


def runs(blocks: list[Block], length: int) -> Iterator[tuple[Block, ...]]:
    """So many blocks, each beginning where the one before ends."""
    by_start = {block.start: block for block in blocks}
    for block in blocks:
        run = [block]
        while len(run) < length and run[-1].end in by_start:
            run.append(by_start[run[-1].end])
        if len(run) == length:
            yield tuple(run)


def said_block(network: Network, block: Block, maps: Mapping[str, int] | None = None) -> str:
    """A block in a note; `maps` as in :func:`said_nodes`."""
    said = said_nodes(network, block.nodes, maps)
    return f"{said} + {said_shortcut(network, block)}" if block.add is not None else said


def said_shortcut(network: Network, block: Block) -> str:
    """A block's shortcut in a note."""
    return said_nodes(network, block.shortcut).replace(" > ", ", ") or "identity"
