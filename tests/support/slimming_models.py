"""Small real networks of the kinds that slimming rules look for, drawn node by node.

Every function writes an ONNX classifier for images of 32 pixels (`SIZE`) and four classes, with
random weights, and returns its path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import numpy_helper
from sample_models import SIZE, GraphDrawer

from trimtab.variants.slimming.network.network import Network, extract, read_network, replace
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules import propose

Array = np.ndarray[Any, np.dtype[Any]]

#: Maps of an inception module: 1x1, reducer and 3x3, reducer and 5x5, behind the pooling.
MAPS = (16, 32, 32, 8, 16, 16)


class Drawer(GraphDrawer):
    """A GraphDrawer that knows what networks are made of."""

    def conv_relu(
        self, x: str, width: int, size: int = 3, stride: int = 1, groups: int = 1
    ) -> str:
        """A convolution and its ReLU."""
        return self.op("Relu", self.conv(x, width, size, stride, groups))

    def max_pool(self, x: str, size: int = 3, stride: int = 2, **said: Any) -> str:
        """A max pooling, without padding but for what keeps maps of stride 1 at their size."""
        side = (size - 1) // 2 if stride == 1 else 0
        said = {"pads": [side] * 4, **said}
        return self.op("MaxPool", x, kernel_shape=[size] * 2, strides=[stride] * 2, **said)

    def lrn(self, x: str) -> str:
        """Local response normalisation as in GoogLeNet."""
        return self.op("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)

    def join(self, *branches: str, axis: int = 1) -> str:
        """Branches side by side."""
        widths = [self.widths[branch] for branch in branches]
        width = sum(widths) if axis == 1 else widths[0]
        return self.op("Concat", *branches, width=width, axis=axis)

    def constant(self, *values: float, shape: Sequence[int] | None = None) -> str:
        """A float constant of shape (1, C, 1, 1), or of the shape given."""
        array = np.array(values, np.float32).reshape(shape or (1, len(values), 1, 1))
        return self._keep(array)

    def integers(self, *values: int) -> str:
        """A constant of int64 (n,)."""
        return self._keep(np.array(values, np.int64))

    def inception(self, x: str, maps: Sequence[int] = MAPS) -> str:
        """An inception module (Szegedy et al., 2015)."""
        one, three_reducer, three, five_reducer, five, pool = maps
        return self.join(
            self.conv_relu(x, one, 1),
            self.conv_relu(self.conv_relu(x, three_reducer, 1), three, 3),
            self.conv_relu(self.conv_relu(x, five_reducer, 1), five, 5),
            self.conv_relu(self.max_pool(x, 3, 1), pool, 1),
        )

    def residual(self, x: str, width: int, stride: int = 1, option: str = "B") -> str:
        """A block of two 3x3 convolutions; where it changes the width, its shortcut is option A
        (slices and zeros) or B (a 1x1 convolution) of He et al., 2016."""
        main = self.conv(self.conv_relu(x, width, 3, stride), width)
        short = x
        if option == "A" and (stride, width) != (1, self.widths[x]):
            ends = [2**31 - 1] * 2
            given = [[0, 0], ends, [2, 3], [stride] * 2]
            inputs = [self.integers(*values) for values in given]
            missing = width - self.widths[x]
            before = missing // 2
            pads = self.integers(0, before, 0, 0, 0, missing - before, 0, 0)
            short = self.op("Pad", self.op("Slice", x, *inputs), pads, width=width)
        elif (stride, width) != (1, self.widths[x]):
            short = self.conv(x, width, 1, stride)
        return self.op("Relu", self.op("Add", main, short))

    def inverted(self, x: str, width: int, stride: int = 1, size: int = 3) -> str:
        """An inverted residual of EfficientNet-Lite, expansion 6, ReLU6."""
        bounds = [self.constant(value, shape=()) for value in (0.0, 6.0)]
        inner, y = 6 * self.widths[x], x
        for kernel, groups, step in ((1, 1, 1), (size, inner, stride)):
            y = self.op("Clip", self.conv(y, inner, kernel, step, groups), *bounds)
        y = self.conv(y, width, 1)
        return self.op("Add", y, x) if (stride, width) == (1, self.widths[x]) else y

    def _keep(self, array: Array) -> str:
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return str(self.weights[-1].name)


def write_inception(path: Path) -> Path:
    """A stem with pooling and LRN, and two inception modules with a pooling between them."""

    def drawn(draw: Drawer) -> str:
        x = draw.lrn(draw.max_pool(draw.conv_relu("image", 16, 7), ceil_mode=1))
        x = draw.max_pool(draw.lrn(draw.conv_relu(draw.conv_relu(x, 16, 1), 32)), ceil_mode=1)
        return draw.inception(draw.max_pool(draw.inception(x), ceil_mode=1))

    return write(path, drawn)


def write_resnet(path: Path, option: str = "A") -> Path:
    """Five residual blocks, the third of twice the width and stride 2."""

    def drawn(draw: Drawer) -> str:
        x = draw.conv_relu("image", 16)
        for width, stride in ((16, 1), (16, 1), (32, 2), (32, 1), (32, 1)):
            x = draw.residual(x, width, stride, option)
        return x

    return write(path, drawn)


def write_lite(path: Path) -> Path:
    """Inverted residuals: stride 2, then two with a shortcut, the second with a 5x5 kernel."""

    def drawn(draw: Drawer) -> str:
        x = draw.conv_relu("image", 8, 3, 2)
        x = draw.inverted(x, 16, 2)
        return draw.inverted(draw.inverted(x, 16), 16, size=5)

    return write(path, drawn)


def write(path: Path, drawn: Callable[[Drawer], str], size: int = SIZE) -> Path:
    """A classifier over the feature map that `drawn` makes of `image`."""
    draw = Drawer()
    return draw.write(path, draw.head(drawn(draw)), size)


def network_of(path: Path, drawn: Callable[[Drawer], str], size: int = SIZE) -> Network:
    """The network of :func:`write`."""
    return read_network(write(path, drawn, size), None)


def notes(network: Network, rule: str) -> list[str]:
    """What one rule proposes, as said to people."""
    return [proposal.note for proposal in propose(network, (rule,))]


def run(model: Any, image: Array) -> Array:
    """What onnxruntime answers for one input."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: image})
    return np.asarray(found)


def random_input(network: Network, tensor: str, seed: int = 0) -> Array:
    """Normal values in the shape of a tensor."""
    shape = network.shapes[tensor]
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def region_error(network: Network, proposal: Proposal, seed: int = 0) -> float:
    """Mean squared difference of the block to its region on normal inputs, over the variance of
    what the region makes."""
    image = random_input(network, proposal.region.start, seed)
    wanted = run(extract(network, proposal.region), image)
    return float(np.mean((run(proposal.block, image) - wanted) ** 2) / wanted.var())


def check_fits(network: Network, proposals: Sequence[Proposal]) -> None:
    """Every proposal takes and gives its region's shapes, alone and in the whole network."""
    assert proposals
    image = random_input(network, network.image)
    for proposal in proposals:
        found = run(proposal.block, random_input(network, proposal.region.start))
        assert found.shape == network.shapes[proposal.region.end], proposal.note
        whole = replace(network, [(proposal.region, proposal.block)])
        assert run(whole, image).shape == network.shapes[network.output]


def weight_of(block: Any, name: str) -> Array:
    """A block's constant."""
    (tensor,) = (t for t in block.graph.initializer if t.name == name)
    return np.asarray(numpy_helper.to_array(tensor))
