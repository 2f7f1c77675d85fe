"""Valid networks that are longer, or more entangled, than any walk over them may mind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import numpy_helper
from sample_models import GraphDrawer


def write_chain(path: Path, blocks: int, size: int = 16) -> Path:
    """`blocks` times a convolution, a batch normalisation that nobody folded, and an activation;
    a ResNet-152 has 155."""
    draw = GraphDrawer()
    x = draw.conv("image", 4, stride=2)
    for _ in range(blocks):
        x = draw.op("Relu", _normalised(draw, draw.conv(x, 4, size=1)))
    return draw.write(path, draw.head(x), size=size)


def write_activations(path: Path, nodes: int, size: int = 16) -> Path:
    """A convolution, and `nodes` activations in a row behind it."""
    draw = GraphDrawer()
    x = draw.conv("image", 4, stride=2)
    for _ in range(nodes):
        x = draw.op("Relu", x)
    return draw.write(path, draw.head(x), size=size)


def write_doubled(path: Path, times: int, constant: bool = True, size: int = 16) -> Path:
    """A tensor added to itself `times` times: it is reached by 2 ** `times` ways. It is a
    `constant`, which a weight is made of, or a map."""
    draw = GraphDrawer()
    draw.weights.append(numpy_helper.from_array(np.full((4, 3, 1, 1), 1e-9, np.float32), "little"))
    draw.widths["little"] = 4
    x = "little" if constant else draw.conv("image", 4, stride=2)
    for _ in range(times):
        x = draw.op("Add", x, x) if constant else draw.op("Mul", draw.op("Add", x, x), _half(draw))
    if constant:
        x = draw.op("Conv", "image", x, width=4)
    return draw.write(path, draw.head(draw.op("Relu", x)), size=size)


def _half(draw: GraphDrawer) -> str:
    if "half" not in draw.widths:
        draw.weights.append(numpy_helper.from_array(np.float32(0.5), "half"))
        draw.widths["half"] = 1
    return "half"


def _normalised(draw: GraphDrawer, x: str) -> str:
    """Batch normalisation that keeps what passes near 1."""
    width = draw.widths[x]
    values = [np.ones(width), np.zeros(width), np.zeros(width), np.ones(width)]
    names = []
    for value in values:
        names.append(f"n{len(draw.weights)}")
        draw.weights.append(numpy_helper.from_array(value.astype(np.float32), names[-1]))
    return draw.op("BatchNormalization", x, *names)
