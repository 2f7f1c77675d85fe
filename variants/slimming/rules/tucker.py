"""Tucker-2 decomposition of convolutions (Kim et al., "Compression of Deep Convolutional Neural
Networks for Fast and Low Power Mobile Applications", ICLR 2016): 1x1, k x k, 1x1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.files.graphs import free_name
from trimtab.variants.slimming.network.network import Network, Region, extract
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules.patterns.reading import (
    ACTIVATIONS,
    Array,
    only_reader,
    read_conv,
    said_conv,
    said_window,
)
from trimtab.variants.slimming.rules.patterns.writing import block_shapes_of, maps_of

if TYPE_CHECKING:
    import onnx

SHARES = (0.5, 0.33)
"""Ranks as shares of the maps read and made."""
_LEAST_MAPS = 16
_LANES = 8  # maps that an engine computes at a time: ranks are multiples of it
_ROUNDS = 1  # of alternating least squares; more change the error by less than 0.1 %


def tucker(network: Network) -> Iterator[Proposal]:
    """For every convolution with a kernel above 1x1, 16 maps or more on both sides and one group,
    with the activation behind it: its decomposition at two ranks, where that is less work. It is
    nearly right before learning.
    """
    for node in network.model.graph.node:
        conv = read_conv(network, node)
        if conv is None:
            continue
        after = only_reader(network, conv.output)
        activation = after if after is not None and after.op_type in ACTIVATIONS else None
        region = Region(conv.source, activation.output[0] if activation else conv.output)
        for share in SHARES:
            block = decomposed(extract(network, region), share)
            if block is None:
                continue
            narrow = [maps_of(block, n) for n in block.graph.node if n.op_type == "Conv"]
            middle = f"Conv {said_window(conv.window.kernel, conv.window.stride)} {narrow[1]}"
            said = f"Conv 1x1 {narrow[0]} > {middle} > Conv 1x1 {conv.maps}"
            yield Proposal("tucker", region, block, f"{said_conv(conv)} -> {said}")


def decomposed(model: onnx.ModelProto, share: float) -> onnx.ModelProto | None:
    """The model with every convolution decomposed for which it is less work; None where there is
    none. Blocks that were learned already can be given too: what was published is slimming
    first, then Tucker on top.
    """
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {name: shape for name, (_, shape) in block_shapes_of(model).items()}
    taken = {*tensors, *shapes}
    del graph.node[:], graph.value_info[:]
    for node in model.graph.node:
        ranks = _ranks(node, shapes, share)
        if ranks is None or node.input[1] not in tensors:
            graph.node.append(node)
            continue
        weight = onnx.numpy_helper.to_array(tensors[node.input[1]])
        for made, parts in _three(node, _factors(weight, ranks), taken):
            graph.node.append(made)
            graph.initializer.extend(parts)
    if len(graph.node) == len(model.graph.node):
        return None
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return found


def _ranks(
    node: onnx.NodeProto, shapes: dict[str, tuple[int | None, ...]], share: float
) -> tuple[int, int] | None:
    """Ranks of the maps made and read; None where it does not apply or is not less work."""
    if node.op_type != "Conv":
        return None
    maps, inputs, *kernel = (size or 0 for size in shapes[node.input[1]])
    before, after = (shapes[name] for name in (node.input[0], node.output[0]))
    if before[1] != inputs or min(maps, inputs) < _LEAST_MAPS or math.prod(kernel) <= 1:
        return None
    made, read = (max(_LANES, round(share * n / _LANES) * _LANES) for n in (maps, inputs))
    pixels_before, pixels_after = (math.prod(n or 0 for n in s[2:]) for s in (before, after))
    area = math.prod(kernel)
    now = area * maps * inputs * pixels_after
    then = (area * made * read + made * maps) * pixels_after + read * inputs * pixels_before
    return (made, read) if then < now else None


def _factors(weight: Array, ranks: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Core (made, read, rows, columns), and orthonormal factors (maps, made), (inputs, read)."""
    from tensorly.decomposition import partial_tucker

    (core, factors), _ = partial_tucker(
        weight, rank=list(ranks), modes=[0, 1], init="svd", n_iter_max=_ROUNDS
    )
    return np.asarray(core), np.asarray(factors[0]), np.asarray(factors[1])


def _three(
    node: onnx.NodeProto, factors: tuple[Array, Array, Array], taken: set[str]
) -> Iterator[tuple[onnx.NodeProto, list[onnx.TensorProto]]]:
    """The three convolutions and their weights; the bias stays with the last."""
    from onnx import helper, numpy_helper

    core, outer, inner = factors
    weights = (inner.T[:, :, None, None], core, outer[:, :, None, None])
    names = []
    for part in ("reduced", "core", "restored"):
        names.append(free_name(f"{node.output[0]}.{part}", taken))
        taken.update((names[-1], f"{names[-1]}.weight"))
    tensors = [node.input[0], names[0], names[1], node.output[0]]
    for place, (name, weight) in enumerate(zip(names, weights, strict=True)):
        bias = node.input[2:] if place == 2 else []
        made = helper.make_node(
            "Conv",
            [tensors[place], f"{name}.weight", *bias],
            [tensors[place + 1]],
            name,
        )
        if place == 1:
            made.attribute.extend(node.attribute)
        content = np.ascontiguousarray(weight, np.float32)
        tensor: onnx.TensorProto = numpy_helper.from_array(content, f"{name}.weight")
        yield made, [tensor]
