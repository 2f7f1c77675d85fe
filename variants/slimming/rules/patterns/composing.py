"""What convolutions in turn do, the activations between them left out: one larger kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.variants.slimming.network.network import Network, Region, extract
from trimtab.variants.slimming.rules.patterns.reading import Array, Conv
from trimtab.variants.slimming.rules.patterns.windows import Grid, Pair, Window


@dataclass(frozen=True, eq=False)
class Kernel:
    """A dense linear map of maps: weight (maps, inputs, rows, columns), bias (maps,); tap (0, 0)
    of output i lies at input i * stride + first."""

    weight: Array
    bias: Array
    stride: Pair
    first: Pair

    @property
    def grid(self) -> Grid:
        """Where the outputs lie."""
        y, x = (f + (k - 1) / 2 for f, k in zip(self.first, self.weight.shape[2:], strict=True))
        return Grid(self.stride, (y, x))

    def within(self, window: Window) -> Array:
        """The taps that lie in the kernel of a window with the same stride, at their places."""
        found = np.zeros((*self.weight.shape[:2], *window.kernel), np.float32)
        shift = tuple(f + p for f, p in zip(self.first, window.pads[:2], strict=True))
        slices = []
        for axis in (0, 1):
            low = max(0, shift[axis])
            high = min(window.kernel[axis], shift[axis] + self.weight.shape[2 + axis])
            slices.append((slice(low, max(low, high)), shift[axis]))
        (rows, top), (columns, left) = slices
        found[:, :, rows, columns] = self.weight[:, :, _moved(rows, top), _moved(columns, left)]
        return found


def _moved(span: slice, by: int) -> slice:
    return slice(span.start - by, span.stop - by)


def dense(conv: Conv) -> Kernel:
    """A convolution, grouped ones with zeros for the maps they do not see."""
    weight = np.zeros((conv.maps, conv.inputs, *conv.window.kernel), np.float32)
    maps, inputs = conv.maps // conv.group, conv.inputs // conv.group
    for group in range(conv.group):
        rows = slice(group * maps, (group + 1) * maps)
        weight[rows, group * inputs : (group + 1) * inputs] = conv.weight[rows]
    top, left = conv.window.pads[:2]
    return Kernel(weight, conv.bias, conv.window.stride, (-top, -left))


def composed(convs: Sequence[Conv], gain: float) -> Kernel:
    """Convolutions in turn, each but the last scaled by `gain` for the activation behind it (a
    ReLU passes half of what is spread evenly around zero)."""
    found = dense(convs[0])
    for conv in convs[1:]:
        found = _after(conv, found, gain)
    return found


def _after(second: Conv, first: Kernel, gain: float) -> Kernel:
    """K[o, i, u * s + v] = gain * sum over m of second[o, m, u] * first[m, i, v]."""
    rows, columns = first.weight.shape[2:]
    steps = first.stride
    sizes = [
        (k - 1) * step + before
        for k, step, before in zip(second.window.kernel, steps, (rows, columns), strict=True)
    ]
    weight = np.zeros((second.maps, first.weight.shape[1], *sizes), np.float32)
    for y, x in np.ndindex(*second.window.kernel):
        top, left = y * steps[0], x * steps[1]
        part = _mixed(second, second.weight[:, :, y, x], first.weight)
        weight[:, :, top : top + rows, left : left + columns] += gain * part
    bias = second.bias + gain * _mixed(second, second.weight.sum((2, 3)), first.bias)
    (by, bx), pads = second.window.stride, second.window.pads
    start = (first.first[0] - pads[0] * steps[0], first.first[1] - pads[1] * steps[1])
    stride = (steps[0] * by, steps[1] * bx)
    return Kernel(weight, bias.astype(np.float32), stride, start)


def _mixed(conv: Conv, taps: Array, values: Array) -> Array:
    """Values (inputs, ...) mixed into (maps, ...) by one tap of the weights (maps, inputs /
    group)."""
    grouped = values.reshape(conv.group, conv.inputs // conv.group, -1)
    mixing = taps.reshape(conv.group, conv.maps // conv.group, -1)
    found: Array = (mixing @ grouped).reshape(conv.maps, *values.shape[1:])
    return found


def channel_map(network: Network, region: Region) -> tuple[Array, Array]:
    """What a linear region does to constant maps: matrix (maps, inputs), offset (maps,).

    Found by running it on every unit vector, so that any way of writing a shortcut (slices,
    padding, pooling) is understood. Values are those in the middle of the maps.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        extract(network, region).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    shape = network.shapes[region.start]
    height, width = network.shapes[region.end][2:]

    def answer(maps: Array) -> Array:
        image = np.broadcast_to(maps[None, :, None, None], shape).astype(np.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: image})
        middle: Array = found[0, :, height // 2, width // 2]
        return middle

    offset = answer(np.zeros(shape[1], np.float32))
    columns = [answer(unit) - offset for unit in np.eye(shape[1], dtype=np.float32)]
    return np.stack(columns, 1), offset
