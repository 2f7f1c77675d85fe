"""95 % intervals of figures over inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_RESAMPLES = 999
_AT_ONCE = 2**20  # inputs of the resamples that are looked at together: bounds the memory


def resamples(count: int) -> Iterator[Ints]:
    """The bootstrap's resamples of `count` inputs: rows of indices, some rows at a time. Always
    the same ones, so that the same inputs have the same interval."""
    generator = np.random.default_rng(0)
    rows = max(1, _AT_ONCE // count)
    for start in range(0, _RESAMPLES, rows):
        yield generator.integers(0, count, (min(rows, _RESAMPLES - start), count))


def central(resampled: Doubles, confidence: float) -> tuple[float, float]:
    """What holds the middle of the resampled figures."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def wilson(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share."""
    found = scipy.stats.binomtest(right, count).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def interval(values: Floats, share: bool, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the mean of values (n,): Wilson's for a `share` (values of 0 and 1),
    else the bootstrap's."""
    if share:
        return wilson(round(float(values.sum())), len(values), confidence)
    exact = values.astype(np.float64)
    means = [exact[rows].mean(1) for rows in resamples(len(values))]
    return central(np.concatenate(means), confidence)
