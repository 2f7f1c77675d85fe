"""Learned deferral: from the answer of the model that has run, whether a later one is worth it.

The published rule defers where the largest probability is small. After the fact one may learn
more: how the whole distribution looks tells how likely this answer is right and how likely the
next model would do better (post-hoc deferral: Jitkrittum et al., NeurIPS 2023). Where the next
model is hardly better than this one, it changes an answer only where two classes are nearly as
likely: then the lead of the first over the second says more than the first alone, with nothing to
learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from trimtab.variants.routers.learned import predicted
from trimtab.variants.routers.to_onnx import Graph, check_file

Doubles = NDArray[np.float64]

#: Largest probabilities that a scorer looks at.
_FIRST = 5
_TINY = 1e-6


def answer_features(probabilities: NDArray[Any]) -> Doubles:
    """Features (inputs, n) of probabilities (inputs, classes): the largest few, their logarithms,
    by how much the first leads, what they leave, and the entropy."""
    exact = np.asarray(probabilities, np.float64)
    count = min(_FIRST, exact.shape[1])
    top = -np.sort(-exact, axis=1)[:, :count]
    logs = np.log(np.maximum(top, _TINY))
    entropy = -(exact * np.log(np.maximum(exact, _TINY))).sum(1, keepdims=True)
    rest = np.log(np.maximum(1.0 - top[:, :1], _TINY))
    return np.concatenate([top, logs, rest, entropy], axis=1)


def margin_file(classes: int) -> bytes:
    """The scorer that says by how much the largest of so many probabilities leads the second, as
    an ONNX file. (Best against second best: Joshi et al., CVPR 2009.)"""
    graph = Graph()
    if classes < 2:
        raise ValueError(f"classes >= 2 must hold, got {classes}")
    top = graph.largest("probabilities", 2)[0]
    places = (graph.constant(np.array([place])) for place in (0, 1))
    first, second = (graph.op("Gather", top, place, axis=1) for place in places)
    lead = graph.clipped(graph.op("Sub", first, second))
    return graph.file("probabilities", (1, classes), lead, "score", (1,))


def scorer_file(models: Sequence[BaseEstimator], probabilities: NDArray[Any]) -> bytes:
    """A scorer (trimtab_runtime.definitions.routers.Scorer) as an ONNX file: `models` fitted on
    :func:`answer_features`, their one column clipped to 0 to 1. Checked on the `probabilities`
    (inputs, classes) that were learned from. Raises ModelError."""
    classes = probabilities.shape[1]
    count = min(_FIRST, classes)
    graph = Graph()
    tiny = graph.constant(np.float32(_TINY))

    def log(tensor: str) -> str:
        return graph.op("Log", graph.op("Max", tensor, tiny))

    top = graph.largest("probabilities", count)[0]
    best = graph.op("Gather", top, graph.constant(np.array([0])), axis=1)
    rest = log(graph.op("Sub", graph.constant(np.float32(1)), best))
    spread = graph.op("Mul", "probabilities", log("probabilities"))
    axis = graph.constant(np.array([1]))
    entropy = graph.op("Neg", graph.op("ReduceSum", spread, axis, keepdims=1))
    features = graph.joined([top, log(top), rest, entropy])
    columns = [graph.estimator(model, features, 2 * count + 2) for model in models]
    score = graph.clipped(graph.joined(columns))
    made = graph.file("probabilities", (1, classes), score, "score", (1,))
    wanted = np.clip(predicted(models, answer_features(probabilities)), 0.0, 1.0)
    check_file(made, probabilities, wanted)
    return made
