"""Small real models and images for tests, made in a fraction of a second.

`texture_images` draws photographs of four textures; the networks made here (two convolutions, a
pooling, a linear layer fitted on textures) really tell them apart, and the better the wider they
are: about 0.5 right with `width=2`, 0.75 with 4, 0.87 with 8, 0.92 with 16, 0.98 with 32. The
ONNX file, the float TFLite file and the uint8 TFLite file (sample_tflite) of one `Net` give the
same answers, the last within quantisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]

SIZE = 32
CLASSES = 4
MEAN = STD = 127.5
INPUT = {"mean": MEAN, "std": STD}
"""What a specification must say of the float models (their `input`)."""


def texture_images(count: int, seed: int = 0, size: int = SIZE) -> tuple[Array, Array]:
    """uint8 images (count, size, size, 3) of gratings in four directions, and labels 0..3."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    y, x = np.mgrid[:size, :size] * (SIZE / size)
    angles = labels * (np.pi / CLASSES) + rng.normal(0, 0.05, count)
    steps = (2 * np.pi / rng.uniform(4, 9, count))[:, None, None]
    phases = rng.uniform(0, 2 * np.pi, count)[:, None, None]
    along = np.cos(angles)[:, None, None] * x + np.sin(angles)[:, None, None] * y
    waves = np.sin(along * steps + phases) * rng.uniform(30, 80, count)[:, None, None]
    tint = rng.uniform(90, 160, (count, 1, 1, 3))
    noise = rng.normal(0, 15, (count, size, size, 3))
    pixels = np.clip(np.rint(tint + waves[..., None] + noise), 0, 255)
    return pixels.astype(np.uint8), labels


def write_photos(
    folder: Path, count: int, seed: int = 5, names: Sequence[str] | None = None
) -> list[Path]:
    """Texture images as .png files, a folder per class (`names`: by default class0 to class3)."""
    names = names or [f"class{label}" for label in range(CLASSES)]
    found = []
    for number, (pixels, label) in enumerate(zip(*texture_images(count, seed), strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        found.append(place / f"{number:03}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


@dataclass(frozen=True)
class Net:
    """Weights of the small network: kernels (out, in, 3, 3), stride 2, no padding; head (classes,
    features)."""

    kernel1: Array
    bias1: Array
    kernel2: Array
    bias2: Array
    head: Array
    head_bias: Array


def _conv(x: Array, kernel: Array, bias: Array) -> Array:
    """ReLU of a 3x3 convolution with stride 2 and no padding; x is (n, h, w, c)."""
    windows = sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
    n, h, w = windows.shape[:3]
    flat = windows.reshape(n * h * w, -1) @ kernel.reshape(len(kernel), -1).T + bias
    result: Array = np.maximum(flat, 0).reshape(n, h, w, -1).astype(np.float32)
    return result


def activations(net: Net, images: Array) -> tuple[Array, Array, Array, Array]:
    """Both convolutions' outputs (n, h, w, c), pooled features (n, c), logits (n, classes)."""
    x = ((images.astype(np.float32) - MEAN) / STD).astype(np.float32)
    first = _conv(x, net.kernel1, net.bias1)
    second = _conv(first, net.kernel2, net.bias2)
    pooled = second.mean(axis=(1, 2))
    return first, second, pooled, pooled @ net.head.T + net.head_bias


@lru_cache(maxsize=32)
def make_net(width: int = 8, seed: int = 0, channels: int = 3) -> Net:
    """Random convolutions, and a head fitted by ridge regression on 160 textures."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    kernel1, kernel2 = draw(width, channels, 3, 3) * 2, draw(2 * width, width, 3, 3) * 2
    bias1, bias2 = (rng.normal(0, 0.1, n).astype(np.float32) for n in (width, 2 * width))
    zeros = np.zeros((CLASSES, 2 * width), np.float32)
    net = Net(kernel1, bias1, kernel2, bias2, zeros, zeros[:, 0])
    images, labels = texture_images(160, seed=1234)
    features = activations(net, images[..., :channels])[2].astype(np.float64)
    mean = features.mean(0)
    x = features - mean
    target = 8.0 * (np.eye(CLASSES)[labels] - 1 / CLASSES)
    weights = np.linalg.solve(x.T @ x + 0.2 * np.eye(x.shape[1]), x.T @ target).T
    head, bias = weights.astype(np.float32), (-weights @ mean).astype(np.float32)
    return Net(kernel1, bias1, kernel2, bias2, head, bias)


def uneven(net: Net, times: float = 400.0) -> Net:
    """The same function, with one channel between the convolutions so many times larger than the
    others: a network of which nothing is left where that tensor is quantised as one."""
    kernel1, bias1, kernel2 = net.kernel1.copy(), net.bias1.copy(), net.kernel2.copy()
    kernel1[0] *= times
    bias1[0] *= times
    kernel2[:, 0] /= times
    return replace(net, kernel1=kernel1, bias1=bias1, kernel2=kernel2)


def spiky(net: Net, images: Array, times: float = 4000.0, share: float = 0.01) -> Net:
    """The network without what its first channel tells, which instead is huge at that `share` of
    places of `images`, and zero elsewhere: minimum and maximum leave no steps to other values."""
    lifted = net.bias1.copy()
    lifted[0] = 100  # so that ReLU hides nothing
    response = activations(replace(net, bias1=lifted), images)[0][..., 0] - 100
    kernel1, bias1, kernel2 = net.kernel1.copy(), net.bias1.copy(), net.kernel2.copy()
    kernel1[0] *= times
    bias1[0] = -times * np.quantile(response, 1 - share)
    kernel2[:, 0] = 0
    return replace(net, kernel1=kernel1, bias1=bias1, kernel2=kernel2)


def onnx_model(
    width: int = 8,
    seed: int = 0,
    *,
    channels: int = 3,
    softmax: bool = False,
    layout: str = "nchw",
    batch: int | str = 1,
    size: int | str = SIZE,
    net: Net | None = None,
) -> onnx.ModelProto:
    """The network in ONNX; a `size` or `batch` that is a name is dynamic."""
    net = net or make_net(width, seed, channels)
    names = ("kernel1", "bias1", "kernel2", "bias2", "head", "head_bias")
    weights = [numpy_helper.from_array(getattr(net, name), name) for name in names]
    nhwc = layout == "nhwc"
    image = [batch, size, size, channels] if nhwc else [batch, channels, size, size]
    nodes = [helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2])] if nhwc else []
    x = "x" if nhwc else "image"
    nodes += [
        helper.make_node("Conv", [x, "kernel1", "bias1"], ["conv1"], strides=[2, 2]),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "kernel2", "bias2"], ["conv2"], strides=[2, 2]),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("GlobalAveragePool", ["relu2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "head_bias"], ["logits"], transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    for index, node in enumerate(nodes):
        node.name = f"{node.op_type}_{index}"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [batch, CLASSES])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="tests")


def write_onnx(path: Path, width: int = 8, seed: int = 0, **options: Any) -> Path:
    """Write :func:`onnx_model` (same options) and return the path."""
    path.write_bytes(onnx_model(width, seed, **options).SerializeToString(deterministic=True))
    return path


def write_dense(path: Path, seed: int = 0) -> Path:
    """Write a network of matrix products alone, with random weights."""
    rng = np.random.default_rng(seed)
    sizes = [3 * (SIZE // 4) ** 2, 24, 24, CLASSES]
    weights, nodes, x = [], [], "flat"
    nodes.append(
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[4, 4], strides=[4, 4])
    )
    nodes.append(helper.make_node("Flatten", ["small"], ["flat"]))
    for number, (inside, outside) in enumerate(pairwise(sizes)):
        drawn = rng.normal(0, (2 / inside) ** 0.5, (inside, outside)).astype(np.float32)
        weights.append(numpy_helper.from_array(drawn, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [x, f"w{number}"], [f"product{number}"]))
        x = f"product{number}"
        if outside != CLASSES:
            nodes.append(helper.make_node("Relu", [x], [f"relu{number}"]))
            x = f"relu{number}"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    scores = helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(nodes, "dense", [image], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


class GraphDrawer:
    """Draws an ONNX classifier node by node, with random weights; `image` is its input.

    Every method returns the name of the tensor it makes, and `widths` knows its channels.
    """

    def __init__(self, seed: int = 0, channels: int = 3) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.widths = {"image": channels}

    def weight(self, *shape: int, scale: float | None = None) -> str:
        spread = scale or (2 / max(1, np.prod(shape[1:]))) ** 0.5
        values = self._rng.normal(0, spread, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, kind: str, *inputs: str, width: int | None = None, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"n_{name}", **attributes))
        self.widths[name] = width or self.widths[inputs[0]]
        return name

    def conv(self, x: str, width: int, size: int = 3, stride: int = 1, groups: int = 1) -> str:
        kernel = self.weight(width, self.widths[x] // groups, size, size)
        pads = [size // 2] * 4
        bias = self.weight(width, scale=0.1)
        strides = [stride, stride]
        return self.op(
            "Conv", x, kernel, bias, width=width, strides=strides, pads=pads, group=groups
        )

    def batch_norm(self, x: str) -> str:
        values = [self.weight(self.widths[x], scale=0.3) for _ in range(3)]
        ones = np.ones(self.widths[x], np.float32)
        self.weights.append(numpy_helper.from_array(ones, f"w{len(self.weights)}"))
        return self.op("BatchNormalization", x, *values, self.weights[-1].name)

    def head(self, x: str, classes: int = CLASSES) -> str:
        flat = self.op("Flatten", self.op("GlobalAveragePool", x))
        weight, bias = self.weight(classes, self.widths[x]), self.weight(classes, scale=0.1)
        return self.op("Gemm", flat, weight, bias, width=classes, transB=1)

    def write(self, path: Path, output: str, size: int | str = SIZE, batch: int | str = 1) -> Path:
        image = [batch, self.widths["image"], size, size]
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path


def write_residual(
    path: Path, *, batch_norm: bool = False, width: int = 16, **said: Any
) -> tuple[Path, list[str]]:
    """A residual network (stem, five blocks, the third of twice the width and stride 2) and the
    tensors at its blocks' ends."""
    draw, ends = GraphDrawer(), []

    def conv(x: str, width: int, stride: int = 1) -> str:
        made = draw.conv(x, width, stride=stride)
        return draw.batch_norm(made) if batch_norm else made

    x = draw.op("Relu", conv("image", width))
    for stride in (1, 1, 2, 1, 1):
        wide = draw.widths[x] * stride
        inner = conv(draw.op("Relu", conv(x, wide, stride)), wide)
        short = x if stride == 1 else draw.conv(x, wide, size=1, stride=stride)
        x = draw.op("Relu", draw.op("Add", inner, short))
        ends.append(x)
    return draw.write(path, draw.head(x), **said), ends


def write_inverted(path: Path, width: int = 8) -> tuple[Path, list[str]]:
    """Inverted residuals (expand, depthwise, project), blocks of stride 2, 1 and 1 without, with
    and without a shortcut, and the tensors at the blocks' ends."""
    draw, ends = GraphDrawer(), []
    x = draw.op("Relu", draw.conv("image", width, stride=2))
    for stride, wide in ((2, 2 * width), (1, 2 * width), (1, 3 * width)):
        y, inner = x, 6 * draw.widths[x]
        for size, groups, step in ((1, 1, 1), (3, inner, stride)):
            y = draw.op("Relu", draw.conv(y, inner, size, step, groups))
        y = draw.conv(y, wide, size=1)
        x = draw.op("Add", y, x) if stride == 1 and wide == draw.widths[x] else y
        ends.append(x)
    x = draw.op("Relu", draw.conv(x, 10 * width, size=1))
    return draw.write(path, draw.head(x)), ends
