"""The published router: a chain of kNN, one question after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor

from trimtab.variants.routers.to_onnx import Graph, check_file

Doubles = NDArray[np.float64]

NEIGHBOURS = 5


def min_max(features: Doubles) -> tuple[Doubles, Doubles]:
    """The stored bounds of features (inputs, n): the least of each, and what makes its range 1 (0
    where it has none)."""
    extent = np.ptp(features, axis=0)
    return features.min(0), np.divide(1.0, extent, out=np.zeros_like(extent), where=extent > 0)


def chain_file(
    features: Doubles, correct: NDArray[np.bool_], order: Sequence[int], default: int
) -> bytes:
    """A router (trimtab_runtime.definitions.routers.Router) as an ONNX file, one-hot: 1 for the
    first stage in `order` of which most of the nearest neighbours say that it is right; where
    there is none, for the `default` (abstention: that stage answers, and counts).

    `features` (inputs, n) to learn from, at least five inputs; `correct` (inputs, stages) says
    which stages are right there. All questions have the same neighbours, so that one search
    answers the whole chain. Source: Taylor et al., LCTES 2018, section 3.2 (kNN, k = 5; min-max
    scaling; a chain of binary classifiers). Raises ModelError.
    """
    asked = [stage for stage in order if stage != default]
    low, scale = min_max(features)
    known, told = (features - low) * scale, correct[:, asked].astype(np.float64)
    graph = Graph()

    def floats(values: Any) -> str:
        return graph.constant(np.asarray(values, np.float32))

    placed = graph.op("Mul", graph.op("Sub", "features", floats(low)), floats(scale))
    apart = graph.op("Sub", floats(known), placed)
    axis = graph.constant(np.array([1]))
    far = graph.op("ReduceSum", graph.op("Mul", apart, apart), axis, keepdims=0)
    near = graph.largest(graph.op("Neg", far), NEIGHBOURS, axis=0)[1]
    share = graph.op("ReduceMean", graph.op("Gather", floats(told), near), axes=[0], keepdims=1)
    yes = graph.cast(graph.op("Greater", share, floats([0.5])))
    yes = graph.joined([yes, floats([[1.0]])])  # the default comes last, and always does
    counted = graph.op("Mul", graph.op("CumSum", yes, graph.constant(np.int64(1))), yes)
    first = graph.cast(graph.op("Equal", counted, floats([1.0])))
    stages = correct.shape[1]
    places = np.array([[*asked, default].index(stage) for stage in range(stages)], np.int64)
    scores = graph.op("Gather", first, graph.constant(places), axis=1)
    made = graph.file("features", (1, features.shape[1]), scores, "scores", (1, stages))

    said = KNeighborsRegressor(NEIGHBOURS).fit(known, told).predict(known) > 0.5
    said = np.concatenate([said.reshape(len(known), -1), np.ones((len(known), 1), bool)], axis=1)
    check_file(made, features, np.eye(stages)[np.array([*asked, default])[said.argmax(1)]])
    return made
