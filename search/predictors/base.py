"""What a predictor is: a distribution for every candidate, learned from what was measured.

Predictions are normal on a scale of the metric's own: the logarithm of a cost, the log odds of a
quality. Predictors keep nothing: they learn anew from all that is known each time they are asked,
so a killed job that is resumed predicts what it would have predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab.search.predictors.description import Description
from trimtab_runtime.metrics import find_metric

Doubles = NDArray[np.float64]
#: Known candidates from which predictors are asked at all.
LEAST = 2
#: A fraction never counts as nearer to 0 or 1.
_EDGE = 0.002


def to_scale(metric: str, values: Doubles) -> Doubles:
    """Values as predictors see them; rising, so what is below stays below."""
    if find_metric(metric).kind == "cost":
        found: Doubles = np.log(np.maximum(values, 1e-9))
    else:
        found = scipy.special.logit(np.clip(values, _EDGE, 1 - _EDGE))
    return found


def from_scale(metric: str, values: Doubles) -> Doubles:
    """The inverse of :func:`to_scale`."""
    if find_metric(metric).kind == "cost":
        found: Doubles = np.exp(values)
    else:
        found = scipy.special.expit(values)
    return found


@dataclass(frozen=True)
class Prediction:
    """Means and spreads (standard deviations) (n,) on the scale of a metric."""

    metric: str
    mean: Doubles
    spread: Doubles

    @property
    def median(self) -> Doubles:
        """(n,) in the metric's unit."""
        return from_scale(self.metric, self.mean)

    def quantile(self, sigmas: float) -> Doubles:
        """(n,) in the metric's unit: so many standard deviations above the median."""
        return from_scale(self.metric, self.mean + sigmas * self.spread)

    def below(self, limits: Doubles) -> Doubles:
        """(n, limits): the probability of each value to be at most each of the limits."""
        scaled = to_scale(self.metric, limits)
        found: Doubles = scipy.special.ndtr((scaled - self.mean[:, None]) / self.spread[:, None])
        return found


class Predictor(ABC):
    """Predicts one metric of candidates from those that were measured."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    @abstractmethod
    def predict(
        self, known: Sequence[Description], values: Doubles, wanted: Sequence[Description]
    ) -> Prediction:
        """The metric of (m,) `wanted` candidates, given the `values` (n,) of those `known`; n may
        be 0. The spread is that of a measurement, its noise included."""
