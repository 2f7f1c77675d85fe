"""Channel pruning inside a block (Fang et al., "DepGraph", CVPR 2023, by the library
torch-pruning); what the block reads and makes keeps its width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from trimtab.variants.slimming.network.network import (
    Network,
    Region,
    extract,
    is_region,
    region_nodes,
)
from trimtab.variants.slimming.network.splicing import INPUT, OUTPUT
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.blocks import (
    inverted_blocks,
    residual_blocks,
    said_block,
)
from trimtab.variants.slimming.rules.patterns.parallel import parallel_blocks, said_parallel
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    Conv,
    only_reader,
    read_conv,
    said_nodes,
)
from trimtab.variants.slimming.rules.patterns.writing import block_shapes_of, maps_of

if TYPE_CHECKING:
    import onnx
    import torch

    from trimtab.variants.slimming.torch_module.module import OnnxModule

RATIOS = (0.25, 0.5)
_LEAST_MAPS = 16
_LANES = 8  # maps that an engine computes at a time: widths stay multiples of it

Said = Callable[[Mapping[str, int]], str]
"""How a note says a region, with other numbers of maps."""


def prune(network: Network) -> Iterator[Proposal]:
    """For every residual block, inverted residual and parallel block, and every two convolutions
    in a row outside them: their inner maps, where there are 16 or more, pruned by a quarter and
    by half. The maps of least magnitude go (L2 norm, mean over all layers that read or make
    them), and widths are rounded down to multiples of 8."""
    from trimtab.variants.slimming.torch_module.module import unsupported

    for region, said in _regions(network):
        model = extract(network, region)
        if unsupported(model) is not None:
            continue
        for ratio in RATIOS:
            block = pruned(model, ratio)
            if block is None:
                continue
            nodes = zip(region_nodes(network, region), block.graph.node, strict=True)
            widths = {
                before.output[0]: maps_of(block, after)
                for before, after in nodes
                if after.op_type == "Conv"
            }
            yield Proposal("prune", region, block, f"{said({})} -> {said(widths)}")


def pruned(model: onnx.ModelProto, ratio: float) -> onnx.ModelProto | None:
    """The block with this share of its inner maps left out; None where no maps would go. Blocks
    that were learned already can be given too.

    Raises ModelError where torch cannot run it.
    """
    import torch
    import torch_pruning

    from trimtab.variants.slimming.torch_module.module import OnnxModule

    module = OnnxModule(model).eval()
    kept = _kept_layers(model, module)
    convs = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    if len(kept) == len(convs):
        return None
    shape = [size or 1 for size in block_shapes_of(model)[INPUT][1]]
    pruner = torch_pruning.pruner.BasePruner(
        module,
        torch.zeros(shape),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=kept,
        round_to=_LANES,
    )
    before = [conv.out_channels for conv in convs]
    pruner.step()
    if before == [conv.out_channels for conv in convs]:
        return None
    block = module.to_onnx()
    # Shape inference leaves a shape of its own; a block says its region's.
    block.graph.output[0].CopyFrom(model.graph.output[0])
    return block


def _kept_layers(model: onnx.ModelProto, module: OnnxModule) -> list[torch.nn.Module]:
    """Layers whose maps are the block's output, depthwise ones of its input, and those with few
    maps."""
    import torch

    layers = {
        int(number): conv
        for number, layer in module.layers.items()
        for conv in layer.modules()
        if isinstance(conv, torch.nn.Conv2d)
    }
    outer: set[int] = set()
    outside = {OUTPUT}
    for number, node in reversed([*enumerate(model.graph.node)]):
        if not outside.isdisjoint(node.output):
            outer.add(number)
            if _follows_input(layers.get(number)):
                outside.update(node.input)
    outside = {INPUT}
    for number, node in enumerate(model.graph.node):
        if not outside.isdisjoint(node.input) and _follows_input(layers.get(number)):
            outer.add(number)
            outside.update(node.output)
    return [
        conv
        for number, conv in layers.items()
        if number in outer or conv.out_channels < _LEAST_MAPS
    ]


def _follows_input(conv: torch.nn.Conv2d | None) -> bool:
    """Whether a node has as many maps as it reads: all but a convolution that mixes them."""
    return conv is None or conv.groups > 1


def _regions(network: Network) -> Iterator[tuple[Region, Said]]:
    taken: set[str] = set()
    for block in [*residual_blocks(network), *inverted_blocks(network)]:
        taken |= _made_in(network, block.region)
        yield block.region, partial(said_block, network, block)
    for parallel in parallel_blocks(network):
        region = Region(parallel.start, parallel.end)
        taken |= _made_in(network, region)
        yield region, partial(said_parallel, network, parallel)
    for node in network.model.graph.node:
        conv = read_conv(network, node)
        nodes = _pair(network, conv) if conv is not None else []
        if nodes and taken.isdisjoint({node.output[0] for node in nodes}):
            region = Region(nodes[0].input[0], nodes[-1].output[0])
            if is_region(network, region):
                yield region, partial(said_nodes, network, nodes)


def _made_in(network: Network, region: Region) -> set[str]:
    return {name for node in region_nodes(network, region) for name in node.output}


def _pair(network: Network, conv: Conv) -> list[onnx.NodeProto]:
    """A convolution, activations behind it, and the convolution and activation behind them."""
    nodes, tensor, convs = [conv.node], conv.output, 1
    while (node := only_reader(network, tensor)) is not None:
        if node.op_type == "Conv" and convs == 2:
            break
        if node.op_type not in ACTIVATIONS and read_conv(network, node) is None:
            break
        convs += node.op_type == "Conv"
        nodes.append(node)
        tensor = node.output[0]
    return nodes if convs == 2 else []
