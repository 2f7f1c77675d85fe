"""Small networks that are really trained (scikit-learn's digits, torch, a second or two), and the
images they are trained on.

A digit stands in the red channel, another one in the blue channel, so that the order of channels
matters; little contrast and tanh make scales matter. The networks are right on more than 0.9 of
images that they have not seen; unless said otherwise they take pixels / 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 16
CLASSES = 10
#: So many of the images, the first ones, are trained on.
TRAINED_ON = 1200
INPUT = {"mean": 0, "std": 255}
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@lru_cache(maxsize=1)
def digit_images() -> tuple[Array, Array]:
    """uint8 images (1797, 16, 16, 3) and labels 0..9, in an order without order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    grey = np.kron(90 + digits.images[order] * (70 / 16), np.ones((1, 2, 2)))
    blue = grey[np.random.default_rng(1).permutation(len(grey))]
    images = np.stack([grey, np.full_like(grey, 100.0), blue], axis=-1)
    return np.rint(images).astype(np.uint8), digits.target[order].astype(np.int64)


@lru_cache(maxsize=8)
def _weights(mean: float, std: float, epochs: int, seed: int) -> tuple[Array, ...]:
    """Kernel, bias, matrix, bias of a network for (pixel - mean) / std."""
    torch.manual_seed(seed)
    images, labels = digit_images()
    count = TRAINED_ON
    pixels = torch.tensor((images[:count].transpose(0, 3, 1, 2).astype(np.float32) - mean) / std)
    targets = torch.tensor(labels[:count])
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16 * 49, 10))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(epochs):
        for part in torch.randperm(count).split(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(pixels[part]), targets[part]).backward()
            optimiser.step()
    return tuple(p.detach().numpy() for p in net.parameters())


def write_digit_net(
    path: Path,
    *,
    mean: float = 0.0,
    std: float = 255.0,
    epochs: int = 12,
    seed: int = 0,
    order: Sequence[int] | None = None,
    background: bool = False,
    constant: int | None = None,
) -> Path:
    """A network as an ONNX file. `order` lists classes as its outputs have them, `background` puts
    an output in front that never wins, `constant` is the one class that it always answers."""
    kernel, bias, matrix, offset = _weights(mean, std, epochs, seed)
    if order is not None:
        matrix, offset = matrix[list(order)], offset[list(order)]
    if constant is not None:
        offset = offset + 1e4 * (np.arange(CLASSES) == constant).astype(np.float32)
    if background:
        matrix = np.concatenate([np.zeros_like(matrix[:1]), matrix])
        offset = np.concatenate([np.full(1, -100.0, np.float32), offset])
    named = {"kernel": kernel, "bias": bias, "matrix": matrix, "offset": offset}
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], strides=[2, 2]),
        helper.make_node("Tanh", ["conv"], ["tanh"]),
        helper.make_node("Flatten", ["tanh"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "offset"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(offset)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in named.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def write_digits(folder: Path, count: int, names: Sequence[str] = NAMES) -> list[Path]:
    """Images as .png files, a folder per class; those that no network was trained on."""
    images, labels = digit_images()
    found = []
    for number in range(TRAINED_ON, TRAINED_ON + count):
        place = folder / names[labels[number]]
        place.mkdir(parents=True, exist_ok=True)
        found.append(place / f"{number:04}.png")
        Image.fromarray(images[number]).save(found[-1])
    return found
