"""A tiny network that needs no labels: filters are the main patches of the images themselves.

Single-layer feature learning (Coates, Ng & Lee, AISTATS 2011): k-means over normalised patches
gives filters; a convolution, a rectifier and means over a grid of cells give features. What a
router learns from them becomes one ONNX graph with the convolution in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.cluster import MiniBatchKMeans

from trimtab.variants.routers.learned import predicted
from trimtab.variants.routers.to_onnx import Graph, Runner, check_file
from trimtab_runtime.formats import InputFormat

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

#: What the network sees: a picture small enough to cost next to nothing.
TINY_INPUT = InputFormat((48, 48), "box", (127.5,), (64.0,))
_FILTERS, _SIDE, _STRIDE, _CELLS = 16, 6, 3, 3
_PATCHES = 6_000


@dataclass(frozen=True)
class TinyNetwork:
    """`kernels` (filters, 3, side, side) and `bias` (filters,) of its one convolution."""

    kernels: Floats
    bias: Floats

    def features(self, tensors: Floats) -> Floats:
        """Features (n, filters * cells * cells) of images (n, 3, height, width)."""
        graph = Graph()
        height, width = tensors.shape[2:]
        pooled = self._pooled(graph, (height, width))
        size = len(self.bias) * _CELLS**2
        shape = (1, 3, height, width)
        return Runner(graph.file("features", shape, pooled, "scores", (1, size)))(tensors)

    def router_file(self, models: Sequence[BaseEstimator], tensors: Floats) -> bytes:
        """The router of `models` fitted on :meth:`features`, as an ONNX file that takes the image
        as a tensor; checked on the `tensors` that were learned from. Raises ModelError."""
        graph, shape = Graph(), (1, *tensors.shape[1:])
        size = len(self.bias) * _CELLS**2
        pooled = self._pooled(graph, (shape[2], shape[3]))
        flat = graph.op("Reshape", pooled, graph.constant(np.array([1, size], np.int64)))
        columns = [graph.estimator(model, flat, size) for model in models]
        wanted = predicted(models, self.features(tensors).astype(np.float64))
        said = graph.joined(columns)
        made = graph.file("features", shape, said, "scores", (1, wanted.shape[1]))
        check_file(made, tensors, wanted)
        return made

    def _pooled(self, graph: Graph, size: tuple[int, int]) -> str:
        steps = [(side - _SIDE) // _STRIDE + 1 for side in size]
        kernels, bias = graph.constant(self.kernels), graph.constant(self.bias)
        strides = [_STRIDE, _STRIDE]
        found = graph.op("Relu", graph.op("Conv", "features", kernels, bias, strides=strides))
        cell = [step // _CELLS for step in steps]
        return graph.op("AveragePool", found, kernel_shape=cell, strides=cell)


def learn_filters(tensors: Floats, seed: int = 0) -> TinyNetwork:
    """Filters for images (n, 3, height, width): the centres of their patches' k-means, each patch
    without its mean and at unit contrast."""
    generator = np.random.default_rng(seed)
    count, _, height, width = tensors.shape
    rows = generator.integers(0, count, _PATCHES)
    tops = generator.integers(0, height - _SIDE + 1, _PATCHES)
    lefts = generator.integers(0, width - _SIDE + 1, _PATCHES)
    side = np.arange(_SIDE)
    patches = tensors[
        rows[:, None, None], :, tops[:, None, None] + side[:, None], lefts[:, None, None] + side
    ]
    flat = patches.reshape(_PATCHES, -1)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= flat.std(1, keepdims=True) + 0.1
    found = MiniBatchKMeans(_FILTERS, n_init=1, random_state=seed).fit(flat).cluster_centers_
    centred = found - found.mean(1, keepdims=True)
    kernels = centred.reshape(_FILTERS, _SIDE, _SIDE, 3).transpose(0, 3, 1, 2)
    lengths = np.maximum(np.linalg.norm(centred, axis=1), 1e-6)  # patches without contrast
    kernels = kernels / lengths[:, None, None, None]
    return TinyNetwork(kernels.astype(np.float32), np.full(_FILTERS, -0.5, np.float32))
