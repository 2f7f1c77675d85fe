"""Branch slimming (Li, Wang, Kong, "DeepRebirth", AAAI 2018, section 3.2).

In a parallel block, such as an inception module, branches without a large kernel are left out,
and the branch beside each, whose kernel is at least as large, is widened by their maps, so that
the width and the order of the channels stay. The 1x1 reducer of a branch that took in one
without pooling is halved (GoogLeNet 3a: 96 -> 48); one that took in a pooling keeps its width
(5x5: 16). A pooling behind the block goes into the last convolutions, whose strides multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.slimming.network.network import Network, Region
from trimtab.variants.slimming.network.splicing import INPUT
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.parallel import (
    Branch,
    ParallelBlock,
    parallel_blocks,
    said_parallel,
)
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    KEEPS_SIGN,
    Array,
    Conv,
    only_reader,
    read_pooling,
    said_nodes,
    said_window,
    same_functions,
    side,
)
from trimtab.variants.slimming.rules.patterns.windows import Window
from trimtab.variants.slimming.rules.patterns.writing import BlockWriter

if TYPE_CHECKING:
    import onnx

_REDUCER_SHARE = 0.5
_LANES = 8  # maps that an engine computes at a time: a reducer is a multiple of it


def branch(network: Network) -> Iterator[Proposal]:
    """For every parallel block: each branch that could be left out, alone; all of them; and all
    of them with the poolings and LRN behind the block.

    Kept maps begin with their weights; new ones with what, by least squares and without the
    activations, gives the dropped branch's linear map at the centre of the kernel.
    """
    for block in parallel_blocks(network):
        takers = {
            index: taker
            for index, dropped in enumerate(block.branches)
            if not dropped.large and (taker := _taker(network, block.branches, index)) is not None
        }
        takers = {index: taker for index, taker in takers.items() if _beside(index, takers)}
        if not takers:
            continue
        if len(takers) > 1:
            for index, taker in takers.items():
                if _beside(index, {index: taker}):
                    yield from _slimmed(network, block, {index: taker}, block.end, ())
        yield from _slimmed(network, block, takers, block.end, ())
        tensor, windows = block.end, []
        while (node := only_reader(network, tensor)) is not None and node.op_type in KEEPS_SIGN:
            pooling = read_pooling(network, node)
            windows += [pooling] if pooling is not None else []
            tensor = node.output[0]
            yield from _slimmed(network, block, takers, tensor, windows)


def _taker(network: Network, branches: Sequence[Branch], index: int) -> int | None:
    """The nearest branch with a large kernel that could take a branch in, with none but
    droppable ones between; of two as near the one whose maps cost less."""
    found = []
    for step in (-1, 1):
        other = index + step
        while 0 <= other < len(branches) and not branches[other].large:
            other += step
        if 0 <= other < len(branches) and _could(network, branches[other], branches[index]):
            last = branches[other].last
            found.append((abs(other - index), last.size * last.inputs, other))
    return min(found)[2] if found else None


def _could(network: Network, taker: Branch, dropped: Branch) -> bool:
    last = taker.last
    tails = [*taker.behind, *dropped.behind]
    return (
        last.group == 1
        and last.size > 1
        and all(node.op_type in ACTIVATIONS for node in tails)
        and same_functions(network, taker.behind, dropped.behind)
        and all(conv.group == 1 for conv in (*taker.convs, *dropped.convs))
    )


def _beside(index: int, takers: Mapping[int, int]) -> bool:
    """Whether all between a branch and the one that takes it in go there too."""
    low, high = sorted((index, takers[index]))
    return all(takers.get(between) == takers[index] for between in range(low + 1, high))


def _slimmed(
    network: Network,
    block: ParallelBlock,
    takers: Mapping[int, int],
    end: str,
    windows: Sequence[Window],
) -> Iterator[Proposal]:
    """The block without the branches that `takers` names, each taken in by another."""
    region = Region(block.start, end)
    writer = BlockWriter(network, region)
    made, said = [], []
    for index, kept in enumerate(block.branches):
        if index in takers:
            continue
        left = [block.branches[i] for i, taker in takers.items() if taker == index and i < index]
        right = [block.branches[i] for i, taker in takers.items() if taker == index and i > index]
        chain = _widened(kept, left, right)
        window = _window(network, block, kept, end, windows)
        if window is None:
            return
        chain[-1] = _Layer(chain[-1].weight, chain[-1].bias, window)
        made.append(_written(writer, kept, chain))
        said.append(" > ".join(_said(layer) for layer in chain))
    joined = writer.node("Concat", made, axis=1) if len(made) > 1 else made[0]
    before = said_parallel(network, block)
    tail = [*_tail(network, block.end, end)]
    note = f"{before} > {said_nodes(network, tail)}" if tail else before
    yield Proposal("branch", region, writer.model(joined), f"{note} -> {' | '.join(said)}")


def _tail(network: Network, first: str, last: str) -> Iterator[onnx.NodeProto]:
    """The nodes of the chain from one tensor to another."""
    while first != last:
        node = only_reader(network, first)
        assert node is not None
        yield node
        first = node.output[0]


def _window(
    network: Network, block: ParallelBlock, kept: Branch, end: str, windows: Sequence[Window]
) -> Window | None:
    """The last convolution's, with the poolings' strides; None where it would skip pixels."""
    window = kept.last.window
    if not windows:
        return window
    grid = window.grid
    for pooling in windows:
        grid = grid.then(pooling)
    if any(node.op_type not in ACTIVATIONS for node in kept.behind):
        return None
    if any(k < s for k, s in zip(window.kernel, grid.stride, strict=True)):
        return None
    pads = grid.pads(window.kernel, side(network, kept.last.source), side(network, end))
    return Window(window.kernel, grid.stride, pads) if pads is not None else None


@dataclass(frozen=True, eq=False)
class _Layer:
    weight: Array
    bias: Array
    window: Window


def _said(layer: _Layer) -> str:
    window = layer.window
    return f"Conv {said_window(window.kernel, window.stride)} {len(layer.weight)}"


def _widened(kept: Branch, left: Sequence[Branch], right: Sequence[Branch]) -> list[_Layer]:
    """The kept branch's convolutions, the last one with the maps of the dropped before and
    behind its own."""
    layers = [_Layer(conv.weight, conv.bias, conv.window) for conv in kept.convs]
    unpooled = any(not branch.pooled for branch in (*left, *right))
    if unpooled and len(layers) > 1 and _has_reducer(kept):
        layers[-2:] = _reduced(kept.convs[-2], kept.last)
    path, offset = _linear(layers[:-1], kept.convs[0].inputs)
    weights: list[Array] = []
    biases: list[Array] = []
    for branch in left:
        _embed(branch, path, offset, layers[-1].weight, weights, biases)
    weights.append(layers[-1].weight)
    biases.append(layers[-1].bias)
    for branch in right:
        _embed(branch, path, offset, layers[-1].weight, weights, biases)
    weight = np.concatenate(weights).astype(np.float32)
    layers[-1] = _Layer(weight, np.concatenate(biases).astype(np.float32), layers[-1].window)
    return layers


def _has_reducer(kept: Branch) -> bool:
    """Whether a 1x1 convolution and activations alone lie before the last convolution."""
    names = [node.output[0] for node in kept.nodes]
    reducer = kept.convs[-2]
    between = kept.nodes[names.index(reducer.output) + 1 : names.index(kept.last.output)]
    return reducer.pointwise and all(node.op_type in ACTIVATIONS for node in between)


def _reduced(reducer: Conv, last: Conv) -> list[_Layer]:
    """Both with the reducer's maps that weigh most."""
    maps = reducer.maps
    count = min(maps, -(-int(maps * _REDUCER_SHARE) // _LANES) * _LANES)
    norms = np.linalg.norm(reducer.weight.reshape(maps, -1), axis=1)
    norms = norms * np.linalg.norm(last.weight.transpose(1, 0, 2, 3).reshape(maps, -1), axis=1)
    best = np.sort(np.argsort(-norms, kind="stable")[:count])
    return [
        _Layer(reducer.weight[best], reducer.bias[best], reducer.window),
        _Layer(last.weight[:, best], last.bias, last.window),
    ]


def _linear(layers: Sequence[_Layer], inputs: int) -> tuple[Array, Array]:
    """What layers do to the maps of one place, kernels summed: matrix (maps, inputs), offset."""
    matrix, offset = np.eye(inputs, dtype=np.float32), np.zeros(inputs, np.float32)
    for layer in layers:
        step = layer.weight.sum((2, 3))
        matrix, offset = step @ matrix, step @ offset + layer.bias
    return matrix, offset


def _embed(
    dropped: Branch,
    path: Array,
    offset: Array,
    last: Array,
    weights: list[Array],
    biases: list[Array],
) -> None:
    """Maps of a dropped branch in the last layer (its weight `last`), behind the linear `path`."""
    own = [_Layer(conv.weight, conv.bias, conv.window) for conv in dropped.convs]
    matrix, bias = _linear(own, path.shape[1])
    mixed = np.linalg.lstsq(path.T, matrix.T, rcond=1e-3)[0].T
    added = np.zeros((len(matrix), *last.shape[1:]), np.float32)
    added[:, :, (last.shape[2] - 1) // 2, (last.shape[3] - 1) // 2] = mixed
    weights.append(added)
    biases.append((bias - mixed @ offset).astype(np.float32))


def _written(writer: BlockWriter, kept: Branch, layers: Sequence[_Layer]) -> str:
    tensor = INPUT
    new = {conv.output: layer for conv, layer in zip(kept.convs, layers, strict=True)}
    for node in kept.nodes:
        layer = new.get(node.output[0])
        if layer is None:
            tensor = writer.copy(tensor, [node])
        else:
            tensor = writer.conv(tensor, layer.weight, layer.bias, layer.window)
    return tensor
