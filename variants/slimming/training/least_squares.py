"""The last convolutions of a block by least squares: where learning starts.

Importing this imports torch: import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from trimtab.variants.slimming.torch_module.module import OnnxModule
from trimtab.variants.slimming.training.batches import Maps, batch_of, parts_of

_IMAGES = 1_000  # that are looked at
_POSITIONS = 40_000  # rows of the least squares, at most
_NUMBERS = 100_000_000  # in the matrix, at most
_ROUNDS = 20  # of filling in what an activation cut off
_RIDGE = 1e-4  # of the mean squared feature
_BATCH = 16
_HOMOGENEOUS = frozenset({"Relu", "MaxPool", "AveragePool"})


@dataclass(frozen=True)
class _Last:
    """A convolution behind which only sums, an activation and joins lie: its step, the tensor that
    it is summed up to before the activation, the first channel of the block's output that is its
    own, and the bounds at which the activation cuts off."""

    step: int
    total: str
    first: int
    low: float
    high: float


def solve_last(module: OnnxModule, inputs: Maps, targets: Maps, used: NDArray[np.int64]) -> None:
    """Set the last convolutions' weights to the ridge solution for the targets, in place.

    Where an activation cuts the target off (a Relu, a Clip), what lies behind is filled in from
    the solution before, and solved again: the fixed point is least squares where the target is
    free, and costs only what lies on the wrong side of the bound where it is cut off. Where only
    activations and poolings lie behind a convolution, least squares gives the height of each of
    its maps. A block without such convolutions stays as it is.
    """
    for last in _find(module, module.output, 0, -math.inf, math.inf):
        _fill(_conv(module, last.step), _solve(_rows(module, last, inputs, targets, used), last))
    pooled = _pooled(module)
    if pooled is not None:
        _scale(module, pooled, inputs, targets, used)


def _pooled(module: OnnxModule) -> nn.Conv2d | None:
    """The convolution whose maps become the output's by operators that are the same at any
    height (f(a x) = a f(x) for a > 0), a pooling among them; None where there is none."""
    made, kinds = {step.output: n for n, step in enumerate(module.steps)}, set()
    number = made.get(module.output)
    while number is not None and module.steps[number].kind in _HOMOGENEOUS:
        step = module.steps[number]
        kinds.add(step.kind)
        readers = sum(step.inputs[0] in other.inputs for other in module.steps)
        number = made.get(step.inputs[0]) if readers == 1 else None
    if number is None or module.steps[number].kind != "Conv" or kinds <= {"Relu"}:
        return None
    return _conv(module, number)


def _scale(
    module: OnnxModule, conv: nn.Conv2d, inputs: Maps, targets: Maps, used: NDArray[np.int64]
) -> None:
    across = torch.zeros(2, conv.out_channels, dtype=torch.float64)
    images = np.sort(np.random.default_rng(0).permutation(used)[:_IMAGES])
    with torch.no_grad():
        for part in parts_of(images, _BATCH):
            made, wanted = module(batch_of(inputs, part)), batch_of(targets, part)
            across += torch.stack([(made * wanted).sum((0, 2, 3)), made.square().sum((0, 2, 3))])
        height = torch.where(across.amin(0) > 0, across[0] / across[1], 1.0).float()
        for values in conv.parameters():
            values.mul_(height.reshape(-1, *[1] * (values.dim() - 1)))


def _conv(module: OnnxModule, step: int) -> nn.Conv2d:
    modules = module.layers[str(step)].modules()
    return next(m for m in modules if isinstance(m, nn.Conv2d))


def _find(
    module: OnnxModule, name: str, first: int, low: float, high: float, total: str = ""
) -> Iterator[_Last]:
    """Walk back from a tensor that is the output's channels from `first` on, or, with `total`,
    what is summed up to that tensor."""
    readers = sum(name in step.inputs for step in module.steps)
    number = next((i for i, step in enumerate(module.steps) if step.output == name), None)
    if number is None or readers > 1:
        return
    step = module.steps[number]
    if step.kind == "Conv":
        yield _Last(number, total or name, first, low, high)
    elif step.kind == "Add":
        shapes = _made(module)
        for part in step.inputs:
            if shapes.get(part) == step.made:
                yield from _find(module, part, first, low, high, total or name)
    elif total:
        return
    elif step.kind == "Relu":
        yield from _find(module, step.inputs[0], first, max(low, 0.0), high)
    elif step.kind == "Clip" and isinstance(step.function, partial):
        least, most = (step.function.keywords[side] for side in ("min", "max"))
        low = low if least is None else max(low, least)
        high = high if most is None else min(high, most)
        yield from _find(module, step.inputs[0], first, low, high)
    elif step.kind == "Concat" and len(step.made) == 4:
        widths = [_made(module).get(n, (0, 0))[1] for n in step.inputs]
        for place, part in enumerate(step.inputs if sum(widths) == step.made[1] else ()):
            yield from _find(module, part, first + sum(widths[:place]), low, high)


def _made(module: OnnxModule) -> dict[str, tuple[int, ...]]:
    return {step.output: step.made for step in module.steps}


@dataclass(frozen=True)
class _Rows:
    """What a convolution sees at a sample of positions, (groups, n, features), the last feature 1
    where it has a bias; what is added to what it makes; and what the sum should be, before what
    the activation cuts off; both (groups, n, maps)."""

    seen: torch.Tensor
    added: torch.Tensor
    wanted: torch.Tensor


def _rows(
    module: OnnxModule, last: _Last, inputs: Maps, targets: Maps, used: NDArray[np.int64]
) -> _Rows:
    conv, step = _conv(module, last.step), module.steps[last.step]
    layer = module.layers[str(last.step)]
    pad = layer[0] if isinstance(layer, nn.Sequential) else nn.Identity()
    rng = np.random.default_rng(0)
    images = np.sort(rng.permutation(used)[:_IMAGES])
    features = conv.weight[0].numel() + 1
    most = max(1, min(_POSITIONS, _NUMBERS // (features * conv.groups)) // len(images))
    columns: list[list[torch.Tensor]] = [[], [], []]
    with torch.no_grad():
        for part in parts_of(images, _BATCH):
            names = [step.inputs[0], step.output, last.total]
            x, made, total = module.trace(batch_of(inputs, part), names)
            wanted = batch_of(targets, part)[:, last.first : last.first + conv.out_channels]
            places = torch.from_numpy(rng.permutation(wanted[0, 0].numel())[:most])
            for column, values in zip(
                columns,
                (_patches(conv, pad(x)), (total - made).flatten(2), wanted.flatten(2)),
                strict=True,
            ):
                column.append(_by_group(values.index_select(2, places), conv.groups))
    seen, added, wanted = (torch.cat(column, 1) for column in columns)
    if conv.bias is not None:
        seen = torch.cat([seen, torch.ones(*seen.shape[:2], 1)], 2)
    return _Rows(seen, added, wanted)


def _patches(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """(n, channels * kernel, positions)."""
    padding = tuple(int(p) for p in conv.padding)
    return functional.unfold(x, conv.kernel_size, conv.dilation, padding, conv.stride)


def _by_group(values: torch.Tensor, groups: int) -> torch.Tensor:
    """(n, groups * k, positions) as (groups, n * positions, k)."""
    n, wide, positions = values.shape
    apart = values.reshape(n, groups, wide // groups, positions)
    return apart.permute(1, 0, 3, 2).reshape(groups, n * positions, wide // groups)


def _solve(rows: _Rows, last: _Last) -> torch.Tensor:
    """Ridge solution (groups, features, maps), what lies behind the bounds filled in.

    Each round minimises a bound on the squared error that is exact at the point before, moved on
    with Nesterov's weights (Beck and Teboulle 2009, equations 4.2 and 4.3).
    """
    factor = _factor((rows.seen.mT @ rows.seen).double())
    below, above = rows.wanted <= last.low, rows.wanted >= last.high

    def solved(aim: torch.Tensor) -> torch.Tensor:
        right = rows.seen.mT @ (aim - rows.added)
        return torch.cholesky_solve(right.double(), factor).float()

    solution = solved(rows.wanted)
    made = before = rows.seen @ solution + rows.added
    weight = 1.0
    for _ in range(_ROUNDS if bool((below | above).any()) else 0):
        following = 0.5 * (1 + math.sqrt(1 + 4 * weight**2))
        ahead = made + (weight - 1) / following * (made - before)
        aim = torch.where(below, ahead.clamp_max(last.low), rows.wanted)
        aim = torch.where(above, ahead.clamp_min(last.high), aim)
        solution = solved(aim)
        weight, before, made = following, made, rows.seen @ solution + rows.added
    return solution


def _factor(gram: torch.Tensor) -> torch.Tensor:
    """Cholesky factors (groups, features, features) of the ridge's matrices; the ridge grows where
    rounding left one without."""
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    eye = torch.eye(gram.shape[-1]).double()
    factor = gram
    for _ in range(6):
        factor, failed = torch.linalg.cholesky_ex(gram + ridge[:, None, None] * eye)
        if not bool(failed.any()):
            break
        ridge = 10 * ridge
    return factor


def _fill(conv: nn.Conv2d, solution: torch.Tensor) -> None:
    weights = solution.mT.reshape(conv.out_channels, -1)
    with torch.no_grad():
        if conv.bias is not None:
            conv.bias.copy_(weights[:, -1])
            weights = weights[:, :-1]
        conv.weight.copy_(weights.reshape(conv.weight.shape))
