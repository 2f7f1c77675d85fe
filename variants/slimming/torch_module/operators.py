"""How each operator of ONNX runs in torch: one small function an operator, in a table.

To add one, write a function that takes a
:class:`trimtab.variants.slimming.torch_module.node.Node` and gives what computes the output from
the node's inputs, and name it in OPERATORS. It must treat the images of a batch alike: axis 0 is
theirs, though the file says 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from trimtab.variants.slimming.torch_module import layers
from trimtab.variants.slimming.torch_module.node import Function, Node


def _simple(function: Function) -> Callable[[Node], Function]:
    """For what needs no attributes."""
    return lambda node: function


def _gemm(node: Node) -> Function:
    if not node.is_constant(1) or (node.name_of(2) and not node.is_constant(2)):
        raise node.refuse("multiplies two computed tensors; only constant factors can be run")
    return layers.linear(node)


def _clip(node: Node) -> Function:
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        given = node.read(index)
        bounds.append(node.get(name, None) if given is None else float(given.reshape(-1)[0]))
    low, high = bounds
    return _unchanged if low is high is None else partial(torch.clamp, min=low, max=high)


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def _leaky_relu(node: Node) -> Function:
    return partial(functional.leaky_relu, negative_slope=node.get("alpha", 0.01))


def _elu(node: Node) -> Function:
    return partial(functional.elu, alpha=node.get("alpha", 1.0))


def _gelu(node: Node) -> Function:
    return partial(functional.gelu, approximate=node.get("approximate", "none"))


def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return lambda x: (x * alpha + beta).clamp(0, 1)


def _add_all(*xs: torch.Tensor) -> torch.Tensor:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def _softmax(node: Node) -> Function:
    return partial(torch.softmax, dim=node.axis(node.get("axis", -1)))


def _log_softmax(node: Node) -> Function:
    return partial(torch.log_softmax, dim=node.axis(node.get("axis", -1)))


def _lrn(node: Node) -> Function:
    size, bias = int(node.attributes["size"]), float(node.get("bias", 1.0))
    alpha, beta = float(node.get("alpha", 1e-4)), float(node.get("beta", 0.75))
    before = (size - 1) // 2
    pads = (0, 0, 0, 0, before, size - 1 - before)

    def run(x: torch.Tensor) -> torch.Tensor:
        squares = functional.pad(x.square(), pads)
        channels = x.shape[1]
        total = squares[:, :channels]
        for shift in range(1, size):
            total = total + squares[:, shift : shift + channels]
        return x / (bias + alpha / size * total).pow(beta)

    return run


def _global_mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def _global_max(x: torch.Tensor) -> torch.Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


def _reduce(function: Callable[..., torch.Tensor]) -> Callable[[Node], Function]:
    def make(node: Node) -> Function:
        axes = node.numbers(1, "axes")
        if not axes:
            raise node.refuse("reduces every axis, that of the images too")
        keep = bool(node.get("keepdims", 1))
        return partial(function, dim=tuple(node.axis(a) for a in axes), keepdim=keep)

    return make


def _concat(node: Node) -> Function:
    axis = node.axis(node.attributes["axis"])
    if any(node.is_constant(index) for index in range(len(node.proto.input))):
        raise node.refuse("joins constants to images")
    return lambda *xs: torch.cat(xs, axis)


def _flatten(node: Node) -> Function:
    axis = node.get("axis", 1)
    if axis % len(node.shape()) > 1:
        raise node.refuse(f"has axis {axis}, which mixes images with what is in them")
    return partial(torch.flatten, start_dim=1)


def _reshape(node: Node) -> Function:
    target = node.numbers(1, "shape")
    made, given = node.made_shape(), node.shape()
    if target is None or made[0] != 1 or given[0] != 1:
        raise node.refuse("makes a tensor whose first axis is not that of the images")
    rest = [-1] if len(made) == 2 else list(made[1:])
    return lambda x: x.reshape(len(x), *rest)


def _pad(node: Node) -> Function:
    pads, value, axes = node.numbers(1, "pads"), node.read(2), node.numbers(3, "axes")
    mode, rank = node.get("mode", "constant"), len(node.shape())
    if pads is None or mode != "constant":
        raise node.refuse(f"pads in mode {mode!r}; only 'constant' can be run")
    sides = [(0, 0)] * rank
    named = range(rank) if axes is None else [a % rank for a in axes]
    for place, axis in enumerate(named):
        sides[axis] = (pads[place], pads[place + len(pads) // 2])
    if sides[0] != (0, 0):
        node.axis(0)
    flat = [side for pair in reversed(sides) for side in pair]
    number = node.get("value", 0.0) if value is None else float(value.reshape(-1)[0])
    return partial(functional.pad, pad=flat, value=number)


def _slice(node: Node) -> Function:
    starts, ends = node.numbers(1, "starts"), node.numbers(2, "ends")
    axes, steps = node.numbers(3, "axes"), node.numbers(4, "steps")
    if starts is None or ends is None:
        raise node.refuse("has no starts or ends")
    cuts = [slice(None)] * len(node.shape())
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        step = 1 if steps is None else steps[place]
        axis = (place if axes is None else axes[place]) % len(cuts)
        if step < 1:
            raise node.refuse(f"has a step of {step}")
        cuts[axis] = slice(start, end, step)
    whole = slice(0, 1).indices(1)
    if cuts[0] != slice(None) and cuts[0].indices(1) != whole:
        node.axis(0)
    cuts[0] = slice(None)
    return lambda x: x[tuple(cuts)]


def _transpose(node: Node) -> Function:
    order = node.get("perm", list(reversed(range(len(node.shape())))))
    if order[0] != 0:
        raise node.refuse("moves the axis of the images")
    return lambda x: x.permute(*order).contiguous()  # see learning.batch_of


def _squeeze(node: Node) -> Function:
    axes, shape = node.numbers(1, "axes"), node.shape()
    gone = {a % len(shape) for a in axes} if axes else {i for i, s in enumerate(shape) if s == 1}
    if 0 in gone:
        raise node.refuse("removes the axis of the images")
    return lambda x: x.reshape([s for i, s in enumerate(x.shape) if i not in gone])


def _unsqueeze(node: Node) -> Function:
    axes = node.numbers(1, "axes") or []
    rank = len(node.made_shape())
    new = {node.axis(a, rank) for a in axes}

    def run(x: torch.Tensor) -> torch.Tensor:
        sizes = iter(x.shape)
        return x.reshape([1 if i in new else next(sizes) for i in range(rank)])

    return run


def _dropout(node: Node) -> Function:
    """Nothing at inference, and feature maps are matched as at inference."""
    for index in (1, 2):
        node.read(index)
    return _unchanged


OPERATORS: Mapping[str, Callable[[Node], Function]] = {
    "Abs": _simple(torch.abs),
    "Add": _simple(torch.add),
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": layers.convolution,
    "Div": _simple(torch.div),
    "Dropout": _dropout,
    "Elu": _elu,
    "Erf": _simple(torch.erf),
    "Exp": _simple(torch.exp),
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _simple(_global_mean),
    "GlobalMaxPool": _simple(_global_max),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _simple(functional.hardswish),
    "Identity": _simple(_unchanged),
    "LRN": _lrn,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "MatMul": layers.product,
    "MaxPool": layers.max_pool,
    "Mul": _simple(torch.mul),
    "Neg": _simple(torch.neg),
    "PRelu": layers.leaky,
    "Pad": _pad,
    "Pow": _simple(torch.pow),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _simple(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _simple(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _simple(functional.softplus),
    "Sqrt": _simple(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _simple(torch.sub),
    "Sum": _simple(_add_all),
    "Tanh": _simple(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""What can be run, by the operator's name. (Constant becomes a weight before.)"""


def make_function(node: Node) -> Any:
    """What computes the first output of a node; ModelError where nothing does."""
    if node.proto.domain not in ("", "ai.onnx") or node.proto.op_type not in OPERATORS:
        raise node.refuse(
            "this operator is not known; see trimtab.variants.slimming.torch_module.operators"
        )
    return OPERATORS[node.proto.op_type](node)
