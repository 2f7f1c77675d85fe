"""The arithmetic of a decision, shared by the device (one row) and the replay (many rows)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definitions.plan import OutputFormat

Array = Any  # numpy.typing needs NumPy 1.20 with its plugin; boards may have less


def calibrated(outputs: Array, fmt: OutputFormat, temperature: float) -> Array:
    """Probabilities (..., classes) of outputs (..., classes), float32.

    softmax(outputs / temperature); outputs that already are probabilities are first turned into
    logits by the logarithm, zero being a quarter of the smallest step of a quantised output.
    Source: temperature scaling, Guo et al., ICML 2017.
    """
    if fmt.kind == "probabilities":
        if temperature == 1.0:
            return outputs
        smallest = fmt.quantisation.scale / 4 if fmt.quantisation else 1e-7
        outputs = np.log(np.maximum(outputs, np.float32(smallest)))
    rows = outputs.ndim > 1
    shifted = outputs - np.maximum.reduce(outputs, -1, keepdims=rows)
    if temperature != 1.0:
        shifted *= np.float32(1.0 / temperature)
    np.exp(shifted, shifted)
    shifted /= np.add.reduce(shifted, -1, keepdims=rows)
    return shifted


def entries(scores: Array, costs_ms: Sequence[float], price: float) -> Array:
    """The stages (n,) int64 where inputs enter: argmax over stages of scores - price * costs_ms,
    the first of equals. `scores` (n, stages) are a router's, `costs_ms` (stages,) what entering
    costs, `price` is what a millisecond is worth in scores."""
    return worths(scores, costs_ms, price).argmax(axis=-1).astype(np.int64)


def worths(scores: Array, costs_ms: Sequence[float], price: float) -> Array:
    """What entering at each stage is worth (..., stages), float64: see `entries`."""
    return scores - price * np.asarray(costs_ms, np.float64)


def combine(total: Optional[Array], probabilities: Array, stage: int, rule: str) -> Array:
    """What is decided on after `stage` other stages have run: `total` is the same after the
    last of them. Rule 'last' forgets, rule 'mean' keeps the running mean."""
    if total is None or rule == "last":
        return probabilities
    return total + (probabilities - total) * np.float32(1.0 / (stage + 1))


def decide(probabilities: Array) -> tuple[Array, Array]:
    """Index and value of the largest probability, over the last axis; the first of equals."""
    index = probabilities.argmax(axis=-1)
    if probabilities.ndim == 1:  # what a device does after each inference, its caches cold
        return index, probabilities[index]
    return index, np.maximum.reduce(probabilities, axis=-1)
