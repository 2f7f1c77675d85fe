"""Windows that slide over maps: where their outputs lie, and the padding that keeps them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
"""Rows above, columns left, rows below, columns right."""


@dataclass(frozen=True)
class Window:
    """A kernel (rows, columns) that moves by a stride over padded maps."""

    kernel: Pair
    stride: Pair
    pads: Pads

    @property
    def grid(self) -> Grid:
        """Where the outputs lie."""
        y, x = ((k - 1) / 2 - p for k, p in zip(self.kernel, self.pads[:2], strict=True))
        return Grid(self.stride, (y, x))


@dataclass(frozen=True)
class Grid:
    """Output i of an operator or of several in turn has its centre at input i * stride + origin,
    in pixels, for rows and columns."""

    stride: Pair
    origin: tuple[float, float]

    def then(self, window: Window) -> Grid:
        """The outputs of a window over these outputs."""
        after = window.grid
        steps = tuple(a * b for a, b in zip(self.stride, after.stride, strict=True))
        origin = tuple(
            o + a * s for o, a, s in zip(self.origin, after.origin, self.stride, strict=True)
        )
        return Grid((steps[0], steps[1]), (origin[0], origin[1]))

    def pads(self, kernel: Pair, before: Pair, after: Pair) -> Pads | None:
        """Padding with which a kernel with this grid's stride makes `after` (H, W) of `before`,
        its outputs as near to where the grid has them as can be. None where no padding
        smaller than the kernel does it."""
        firsts, lasts = [], []
        for axis in (0, 1):
            k, step = kernel[axis], self.stride[axis]
            first = min(max(round((k - 1) / 2 - self.origin[axis]), 0), k - 1)
            last = max((after[axis] - 1) * step + k - before[axis] - first, 0)
            if last >= max(k, 2) or (before[axis] + first + last - k) // step + 1 != after[axis]:
                return None
            firsts.append(first)
            lasts.append(last)
        return (firsts[0], firsts[1], lasts[0], lasts[1])


def read_window(
    attributes: Mapping[str, Any], kernel: Pair, before: Pair, after: Pair
) -> Window | None:
    """The window of a convolution or pooling from its attributes, None where it is dilated.

    `ceil_mode` and `auto_pad` come out as the padding that has their effect.
    """
    steps = attributes.get("strides", [1, 1])
    if any(d != 1 for d in attributes.get("dilations", [1, 1])):
        return None
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        for axis in (0, 1):
            total = max((after[axis] - 1) * steps[axis] + kernel[axis] - before[axis], 0)
            half = total // 2 if mode == b"SAME_UPPER" else total - total // 2
            pads[axis], pads[axis + 2] = half, total - half
    return Window(kernel, (steps[0], steps[1]), (pads[0], pads[1], pads[2], pads[3]))


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
