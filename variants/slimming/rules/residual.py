"""Residual blocks and inverted residuals into one convolution, and several blocks into one.

That a block of convolutions can become one, its activations left out and the rest learned again,
is DepthShrinker's idea (Fu et al., ICML 2022); which blocks to merge is decided from measured
times, as in LayerMerge (Kim et al., ICML 2024). Dropping whole blocks is the residual networks'
own (Veit, Wilber, Belongie, NeurIPS 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from trimtab.variants.slimming.network.network import Network, Region, is_region
from trimtab.variants.slimming.network.splicing import INPUT
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.blocks import (
    Block,
    inverted_blocks,
    residual_blocks,
    runs,
    said_block,
    said_shortcut,
)
from trimtab.variants.slimming.rules.patterns.composing import Kernel, channel_map, composed
from trimtab.variants.slimming.rules.patterns.reading import (
    Array,
    read_conv,
    said_conv,
    said_window,
    side,
    work,
)
from trimtab.variants.slimming.rules.patterns.windows import Window
from trimtab.variants.slimming.rules.patterns.writing import BlockWriter, block_work

_RUNS = (2, 3)  # blocks that become one
_GAIN = 0.5  # of an activation
_SMALL = (3, 3)
_MOST_WORK = 2.0  # of the region's: depthwise convolutions take longer than their work says
_EXPANSION = 2  # of a fused inverted residual


def residual(network: Network) -> Iterator[Proposal]:
    """For a residual block: one convolution of its largest kernel and its stride (the shortcut,
    being linear, goes into it), and, of two convolutions, the second made 1x1, activation and
    shortcut kept. For an inverted residual: the one convolution, and that with twice as many
    maps, its activation, and the projection, beside the shortcut where it has one; each with a
    3x3 kernel as well, where the largest is larger. For two or three blocks in a row, of which at
    most one changes the shape: that one or the first.

    Weights begin with the shortcut plus the block's convolutions composed, cut to the kernel.
    Blocks of more than twice the region's multiply-accumulates are not proposed.
    """
    blocks = [*residual_blocks(network), *inverted_blocks(network)]
    for block in blocks:
        found = []
        for window in _windows(network, block):
            found.append(_convolution(network, block, window))
            if block.inverted:
                found.append(_fused(network, block, window))
        if len(block.convs) == 2 and block.convs[1].size > 1:
            found += _pointwise(network, block)
        most = _MOST_WORK * work(network, block.region)
        yield from (proposal for proposal in found if block_work(proposal.block) <= most)
    for length in _RUNS:
        for run in runs(blocks, length):
            yield from _one_of(network, run)


def _windows(network: Network, block: Block) -> Iterator[Window]:
    """Kernels that could do a block's work, with its stride."""
    grid = block.convs[0].window.grid
    for conv in block.convs[1:]:
        grid = grid.then(conv.window)
    largest = max((conv.window.kernel for conv in block.convs), key=lambda k: k[0] * k[1])
    for kernel in (largest, _SMALL) if min(largest) > max(_SMALL) else (largest,):
        pads = grid.pads(kernel, side(network, block.start), side(network, block.end))
        if pads is not None:
            yield Window(kernel, grid.stride, pads)


def _convolution(network: Network, block: Block, window: Window) -> Proposal:
    kernel = composed(block.convs, _GAIN)
    weight, bias = kernel.within(window), kernel.bias
    if block.add is not None:
        matrix, offset = _shortcut_map(network, block)
        weight = weight + _at_zero(matrix, window)
        bias = bias + offset
    writer = BlockWriter(network, block.region)
    end = writer.conv(INPUT, weight, bias, window)
    said = f"Conv {said_window(window.kernel, window.stride)} {len(weight)}"
    return _finished(network, block, writer, end, said)


def _pointwise(network: Network, block: Block) -> list[Proposal]:
    """The second convolution sees but the pixel in the middle of its kernel."""
    first, second = block.convs
    top, left = second.window.pads[:2]
    sides = (side(network, second.source), side(network, second.output))
    pads = second.window.grid.pads((1, 1), *sides)
    if pads is None:
        return []
    writer = BlockWriter(network, block.region)
    names = [node.output[0] for node in block.nodes]
    end = writer.copy(INPUT, block.nodes[: names.index(second.output)])
    middle = second.weight[:, :, top : top + 1, left : left + 1]
    window = Window((1, 1), second.window.stride, pads)
    end = writer.conv(end, middle, second.bias, window, second.group)
    said = f"{said_conv(first)} > Conv {said_window((1, 1), window.stride)} {second.maps}"
    return [_finished(network, block, writer, end, said, keep=True)]


def _fused(network: Network, block: Block, window: Window) -> Proposal:
    """An inverted residual whose expansion sees the whole kernel, with fewer maps: those of the
    depthwise convolution that weigh most."""
    expansion, depthwise, projection = block.convs
    spread = composed([expansion, depthwise], _GAIN)
    count = min(_EXPANSION * expansion.inputs, expansion.maps)
    norms = np.linalg.norm(spread.weight.reshape(len(spread.weight), -1), axis=1)
    norms = norms * np.linalg.norm(projection.weight[:, :, 0, 0], axis=0)
    best = np.sort(np.argsort(-norms, kind="stable")[:count])
    chosen = Kernel(spread.weight[best], spread.bias[best], spread.stride, spread.first)
    writer = BlockWriter(network, block.region)
    end = writer.conv(INPUT, chosen.within(window), chosen.bias, window)
    names = [node.output[0] for node in block.nodes]
    place = names.index(depthwise.output)
    end = writer.copy(end, block.nodes[place + 1 : names.index(projection.output)])
    end = writer.conv(end, projection.weight[:, best], projection.bias, projection.window)
    said = f"Conv {said_window(window.kernel, window.stride)} {count} > Conv 1x1 {projection.maps}"
    return _finished(network, block, writer, end, said, keep=block.add is not None)


def _finished(
    network: Network, block: Block, writer: BlockWriter, end: str, said: str, keep: bool = False
) -> Proposal:
    """The shortcut, where it is to be kept, and the activation; in a proposal."""
    if keep:
        beside = writer.copy(INPUT, block.shortcut)
        end = writer.node("Add", [end, beside])
        said = f"{said} + {said_shortcut(network, block)}"
    if block.activation is not None:
        end = writer.copy(end, [block.activation])
    note = f"{said_block(network, block)} -> {said}"
    return Proposal("residual", block.region, writer.model(end), note)


def _shortcut_map(network: Network, block: Block) -> tuple[Array, Array]:
    """What the shortcut does to the maps: matrix (maps, inputs), offset (maps,)."""
    maps = network.shapes[block.end][1]
    if not block.shortcut:
        return np.eye(maps, dtype=np.float32), np.zeros(maps, np.float32)
    if len(block.shortcut) == 1:
        conv = read_conv(network, block.shortcut[0])
        if conv is not None and conv.pointwise:
            return conv.weight[:, :, 0, 0], conv.bias
    return channel_map(network, Region(block.start, block.shortcut[-1].output[0]))


def _at_zero(matrix: Array, window: Window) -> Array:
    """A kernel that applies the matrix to the pixel at output * stride."""
    found = np.zeros((*matrix.shape, *window.kernel), np.float32)
    found[:, :, window.pads[0], window.pads[1]] = matrix
    return found


def _one_of(network: Network, run: Sequence[Block]) -> Iterator[Proposal]:
    """The first block of a run, or the one that changes the shape, in the place of all."""
    changing = [block for block in run if block.shortcut or block.add is None]
    region = Region(run[0].start, run[-1].end)
    if len(changing) > 1 or not is_region(network, region):
        return
    kept = changing[0] if changing else run[0]
    writer = BlockWriter(network, region)
    end = writer.copy(INPUT, kept.nodes)
    if kept.add is not None:
        end = writer.node("Add", [end, writer.copy(INPUT, kept.shortcut)])
    last = run[-1].activation
    end = writer.copy(end, [last] if last is not None else [])
    each = [said_block(network, block) for block in run]
    counted = [(said, len([*group])) for said, group in groupby(each)]
    before = " > ".join(f"{n} x ({said})" if n > 1 else f"({said})" for said, n in counted)
    note = f"{before} -> {said_block(network, kept)}"
    yield Proposal("residual", region, writer.model(end), note)
