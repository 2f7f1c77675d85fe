"""Operators with weights as torch layers, and poolings."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from trimtab.variants.slimming.torch_module.node import Function, Node

Pair = tuple[int, int]

Pads = tuple[int, int, int, int]
"""Left, right, top, bottom, as torch pads."""


def convolution(node: Node) -> Function:
    """Conv of feature maps: nn.Conv2d, a ZeroPad2d before it where its pads are uneven. One of
    single pixels that passes some over is given those that it takes: torch 2.13 corrupts memory in
    its backward pass where the channels of a pixel lie side by side."""
    weight = _required(node.read(1, lambda layer: _last(layer).weight))
    bias = node.read(2, lambda layer: _last(layer).bias)
    if weight.ndim != 4:
        raise node.refuse(f"has {weight.ndim - 2} dimensions in space, only 2 can be run")
    kernel, strides, dilations = _window(node, weight.shape[2:])
    left, right, top, bottom = _pads(node, kernel, strides, dilations)
    some = kernel == (1, 1) and strides != (1, 1)
    pad = (top, left)
    before: list[nn.Module] = []
    if left != right or top != bottom or (some and any(pad)):
        before, pad = [nn.ZeroPad2d((left, right, top, bottom))], (0, 0)
    if some:
        before, strides = [*before, nn.AvgPool2d(1, strides)], (1, 1)
    layer = nn.Conv2d(
        weight.shape[1] * node.get("group", 1),
        weight.shape[0],
        kernel,
        strides,
        pad,
        dilations,
        node.get("group", 1),
        bias is not None,
    )
    _fill(layer, weight, bias)
    return nn.Sequential(*before, layer) if before else layer


def linear(node: Node) -> Function:
    """Gemm with a constant second factor: nn.Linear."""
    if node.get("transA", 0) or node.get("alpha", 1.0) != 1.0 or node.get("beta", 1.0) != 1.0:
        raise node.refuse("has transA, alpha or beta")
    transposed = bool(node.get("transB", 0))
    weight = _required(node.read(1, lambda x: x.weight if transposed else x.weight.T))
    weight = weight if transposed else weight.T
    rank = len(node.shape(2)) if node.name_of(2) else 0
    bias = node.read(2, lambda layer: layer.bias.reshape((1,) * (rank - 1) + (-1,)))
    if bias is not None and bias.size != len(weight):
        raise node.refuse(f"adds a constant {bias.shape}, not one number for each output")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    _fill(layer, weight, None if bias is None else bias.reshape(-1))
    return layer


def product(node: Node) -> Function:
    """MatMul: nn.Linear where the second factor is a constant matrix."""
    if not node.is_constant(1) or len(node.shape(1)) != 2:
        return torch.matmul
    weight = _required(node.read(1, lambda layer: layer.weight.T)).T
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    _fill(layer, weight, None)
    return layer


class FixedBatchNorm(nn.BatchNorm2d):
    """Normalises with the stored statistics always, in training as well."""

    def train(self, mode: bool = True) -> FixedBatchNorm:
        super().train(False)
        return self

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any number of dimensions will do."""


def batch_norm(node: Node) -> Function:
    """BatchNormalization with fixed statistics; scale and bias are learned."""
    values = [
        _required(node.read(1, lambda layer: layer.weight)),
        _required(node.read(2, lambda layer: layer.bias)),
        _required(node.read(3, lambda layer: layer.running_mean)),
        _required(node.read(4, lambda layer: layer.running_var)),
    ]
    layer = FixedBatchNorm(len(values[0]), eps=node.get("epsilon", 1e-5))
    assert layer.running_mean is not None and layer.running_var is not None
    _fill(layer, values[0], values[1])
    layer.running_mean.copy_(torch.tensor(values[2]))
    layer.running_var.copy_(torch.tensor(values[3]))
    layer.train(False)
    return layer


def leaky(node: Node) -> Function:
    """PRelu with one slope, or one a channel: nn.PReLU."""
    shape = node.shape(1)
    rank = len(node.shape())
    channels = math.prod(shape)
    # Aligned from the back, the slopes must lie along axis 1.
    if channels > 1 and (len(shape) < rank - 1 or shape[len(shape) - rank + 1] != channels):
        raise node.refuse(f"has slopes {shape}, not one for each channel")
    tail = (-1, *[1] * (rank - 2)) if channels > 1 else (1,) * len(shape)
    front = (1,) * (len(shape) - len(tail))
    slopes = _required(node.read(1, lambda layer: layer.weight.reshape((*front, *tail))))
    layer = nn.PReLU(channels)
    _fill(layer, slopes.reshape(-1), None)
    return layer


def max_pool(node: Node) -> Function:
    """MaxPool of feature maps."""
    kernel, strides, dilations = _window(node, node.attributes["kernel_shape"])
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise node.refuse("gives the indices of the largest values too")
    pads = _pads(node, kernel, strides, dilations)
    plain = _plain_pads(node, kernel, pads)
    if plain is not None:
        return partial(
            functional.max_pool2d,
            kernel_size=kernel,
            stride=strides,
            padding=plain,
            dilation=dilations,
        )
    over = _overhang(node, kernel, strides, dilations, pads)

    def run(x: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x, over, value=-torch.inf)
        return functional.max_pool2d(padded, kernel, strides, 0, dilations)

    return run


def average_pool(node: Node) -> Function:
    """AveragePool of feature maps; what a window counts is fixed by the size of the maps.

    In three dimensions pads must count, as where torch exports its LocalResponseNorm.
    """
    if len(node.attributes["kernel_shape"]) == 3:
        return _average_pool_3d(node)
    kernel, strides, dilations = _window(node, node.attributes["kernel_shape"])
    if any(step != 1 for step in dilations):
        raise node.refuse("is dilated")
    pads = _pads(node, kernel, strides, dilations)
    counts_pads = bool(node.get("count_include_pad", 0))
    plain = _plain_pads(node, kernel, pads)
    if plain is not None:
        return partial(
            functional.avg_pool2d,
            kernel_size=kernel,
            stride=strides,
            padding=plain,
            count_include_pad=counts_pads,
        )
    over = _overhang(node, kernel, strides, dilations, pads)
    ones, behind = torch.ones(1, 1, *node.shape()[2:]), over
    if counts_pads:
        ones = functional.pad(ones, pads, value=1.0)
        behind = [all_ - counted for all_, counted in zip(over, pads, strict=True)]
    share = functional.avg_pool2d(functional.pad(ones, behind), kernel, strides, 0)

    def run(x: torch.Tensor) -> torch.Tensor:
        mean = functional.avg_pool2d(functional.pad(x, over), kernel, strides, 0)
        return mean / share.to(mean)

    return run


def _average_pool_3d(node: Node) -> Function:
    pads = [int(p) for p in node.get("pads", [0] * 6)]
    counted = bool(node.get("count_include_pad", 0)) or not any(pads)
    if node.get("auto_pad", "NOTSET") != "NOTSET" or node.get("ceil_mode", 0) or not counted:
        raise node.refuse("has 3 dimensions in space, and pads that do not count or ceil_mode")
    if any(step != 1 for step in node.get("dilations", [])):
        raise node.refuse("is dilated")
    kernel = tuple(node.attributes["kernel_shape"])
    strides = tuple(node.get("strides", [1, 1, 1]))
    around = [side for axis in (2, 1, 0) for side in (pads[axis], pads[axis + 3])]
    return lambda x: functional.avg_pool3d(functional.pad(x, around), kernel, strides)


def _required(values: NDArray[Any] | None) -> NDArray[Any]:
    assert values is not None, "the operator demands this input"
    return values


def _last(layer: Any) -> Any:
    return layer[-1] if isinstance(layer, nn.Sequential) else layer


def _fill(layer: Any, weight: NDArray[Any], bias: NDArray[Any] | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.ascontiguousarray(weight)))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))


def _window(node: Node, kernel: Any) -> tuple[Pair, Pair, Pair]:
    """Kernel, strides and dilations."""
    if len(kernel) != 2:
        raise node.refuse(f"has {len(kernel)} dimensions in space, only 2 can be run")
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    return _pair(kernel), _pair(strides), _pair(dilations)


def _pair(values: Any) -> Pair:
    return int(values[0]), int(values[1])


def _pads(node: Node, kernel: Pair, strides: Pair, dilations: Pair) -> Pads:
    """Explicit pads, or those that SAME_UPPER and SAME_LOWER stand for."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        given = node.get("pads", [0, 0, 0, 0]) if mode == "NOTSET" else [0, 0, 0, 0]
        top, left, bottom, right = (int(p) for p in given)
        return left, right, top, bottom
    sides = []
    for size, k, s, d in zip(node.shape()[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size)
        less = total // 2
        sides.append((less, total - less) if mode == "SAME_UPPER" else (total - less, less))
    (top, bottom), (left, right) = sides
    return left, right, top, bottom


def _plain_pads(node: Node, kernel: Pair, pads: Pads) -> Pair | None:
    """Pads (vertical, horizontal) where torch's own poolings take them."""
    left, right, top, bottom = pads
    even = left == right <= kernel[1] // 2 and top == bottom <= kernel[0] // 2
    return (top, left) if even and not node.get("ceil_mode", 0) else None


def _overhang(node: Node, kernel: Pair, strides: Pair, dilations: Pair, pads: Pads) -> list[int]:
    """The pads, those behind widened (or cut) to what the windows cover; so ceil_mode is exact."""
    found = list(pads)
    made, size = node.made_shape()[2:], node.shape()[2:]
    for axis, front in ((0, 2), (1, 0)):
        reach = (made[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        found[front + 1] = reach - size[axis] - found[front]
    return found
