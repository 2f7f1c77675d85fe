"""What a predictor is: a distribution for every candidate, learned from what was measured.

Predictions are normal on a scale of the metric's own: the logarithm of a cost, the log odds of a
quality. Predictors keep nothing: they learn anew from all that is known each time they are asked,
so a job that was killed and goes on predicts what it would have predicted.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr

from trimtab_runtime.definition import RuntimeOptions
from trimtab_runtime.metrics import find_metric
from variants import OperatorWork

Doubles = NDArray[np.float64]

#: Known candidates from which predictors are asked at all.
LEAST = 2
#: A fraction never counts as nearer to 0 or 1.
_EDGE = 0.002


@dataclass(frozen=True, eq=False)
class Work:
    """The operators of a file, summed up once."""

    operators: tuple[OperatorWork, ...] = ()

    def in_floats(self) -> Work:
        """The same of the float file that this one was quantised from."""
        return Work(tuple(replace(o, element_bytes=4, unsigned=False) for o in self.operators))

    @cached_property
    def in_bytes(self) -> bool:
        """Whether most of its multiplications are of bytes."""
        return self._mostly(o.element_bytes == 1 for o in self.operators)

    @cached_property
    def unsigned(self) -> bool:
        """Whether most of its multiplications are of bytes without a sign."""
        return self._mostly(o.unsigned for o in self.operators)

    def _mostly(self, which: Iterable[bool]) -> bool:
        work = [o.multiply_accumulates for o in self.operators]
        return 2 * sum(w for w, yes in zip(work, which, strict=True) if yes) > sum(work)

    @cached_property
    def amounts(self) -> Mapping[str, float]:
        """Multiply-accumulates by kind of operator; elements that such operators move (`moved`),
        hold (`weights`) and gather as patches (`patches`, of convolutions over all channels); what
        other operators move (`elementwise`); the `largest` number that one reads and writes;
        `operators`."""
        found: Counter[str] = Counter(operators=len(self.operators))
        for operator in self.operators:
            work, elements = operator.multiply_accumulates, operator.read + operator.written
            found["largest"] = max(found["largest"], elements)
            if not work:
                found["elementwise"] += elements
                continue
            found[operator.kind] += work
            found["moved"] += elements
            found["weights"] += operator.weights
            if operator.kind in ("conv", "pointwise") and operator.weights:
                # positions x kernel x channels read: work = patches x channels written
                found["patches"] += work**2 // (operator.weights * operator.written)
        return found


@dataclass(frozen=True)
class Description:
    """What is known of a candidate before it is built or measured.

    `member` names its model the same in every job. `steps` are what was made of it ('w8a8',
    'slim2'), a number at the end saying how much. `work` is that of the nearest file that is
    known, which took all of these steps but 'w8a8' and those that are `unseen`; an image of
    `pixels` (height x width) goes in.
    """

    member: str
    steps: tuple[str, ...]
    options: RuntimeOptions
    work: Work = field(repr=False)
    pixels: int = 0
    unseen: tuple[str, ...] = ()

    @property
    def amounts(self) -> dict[str, float]:
        """How far each step was taken, by its name."""
        return dict(amount_of(step) for step in self.steps)

    @property
    def multiplies(self) -> tuple[str, ...]:
        """What it multiplies, where that is not floats: 'bytes', perhaps 'unsigned' ones."""
        if "w8a8" in self.steps:
            return ("bytes",)
        return ("bytes",) * self.work.in_bytes + ("unsigned",) * self.work.unsigned


def amount_of(step: str) -> tuple[str, float]:
    """A step's name without the number at its end, and the number (1 where there is none)."""
    found = re.fullmatch(r"([a-z_]+)(\d+(?:\.\d+)?)", step)
    return (found[1], float(found[2])) if found else (step, 1.0)


def to_scale(metric: str, values: Doubles) -> Doubles:
    """Values as predictors see them; rising, so what is below stays below."""
    if find_metric(metric).kind == "cost":
        found: Doubles = np.log(np.maximum(values, 1e-9))
    else:
        found = logit(np.clip(values, _EDGE, 1 - _EDGE))
    return found


def from_scale(metric: str, values: Doubles) -> Doubles:
    """The inverse of :func:`to_scale`."""
    if find_metric(metric).kind == "cost":
        found: Doubles = np.exp(values)
    else:
        found = expit(values)
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
        found: Doubles = ndtr((scaled - self.mean[:, None]) / self.spread[:, None])
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


def error_of(metric: str, predicted: Doubles, measured: Doubles) -> Doubles:
    """How far off: relative to what was measured for a cost, in fractions for a quality."""
    gap = np.abs(predicted - measured)
    found: Doubles = gap / measured if find_metric(metric).kind == "cost" else gap
    return found


def left_out_errors(
    predictor: Predictor, known: Sequence[Description], values: Doubles
) -> Doubles:
    """Errors (n,) of predictions for each member from the other members alone; none where there
    is but one."""
    members = np.array([found.member for found in known])
    errors = []
    for member in dict.fromkeys(members.tolist()):
        out = members == member
        if out.all():
            continue
        told = [found for found, left in zip(known, out, strict=True) if not left]
        wanted = [found for found, left in zip(known, out, strict=True) if left]
        predicted = predictor.predict(told, values[~out], wanted).median
        errors.append(error_of(predictor.metric, predicted, values[out]))
    return np.concatenate(errors) if errors else np.empty(0)


def summed_errors(metric: str, errors: Doubles) -> Mapping[str, float]:
    """Median and number of errors, and the share within 10 % for a cost, within a point (0.01) for
    a quality; {} without any."""
    if not len(errors):
        return {}
    near = 0.1 if find_metric(metric).kind == "cost" else 0.01
    return {
        "median": float(np.median(errors)),
        "within": float((errors <= near).mean()),
        "count": float(len(errors)),
    }
