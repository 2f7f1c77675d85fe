"""Certificates of early exits on independent inputs: how often, at most, an answer differs from
that of the full network. No label is needed.

Learn then Test (Angelopoulos, Bates, Candès, Jordan & Lei, Annals of Applied Statistics 2025,
arXiv:2110.01052; Theorem 1): to every candidate belongs the hypothesis that its expected loss is
above the one asked. Where its p-value is valid and the family-wise error is controlled, then with
the confidence asked *no* rejected candidate loses more than was asked. The control is
Bonferroni's: unlike Holm's it makes the bounds of all candidates hold together, so that any of
them may be shown, and chosen by, afterwards.

The p-value is exact (binomial; the bound is Clopper & Pearson's, 1934) where losses are 0 or 1
by design, and Hoeffding-Bentkus' (Bates, Angelopoulos, Lei, Malik & Jordan, Journal of the ACM
2021) where they lie between. The design decides, never the sample: a test that is picked by what
it is about to test is not known to be valid.

This holds for inputs (objects) that are drawn independently, of which selection saw none, and
for *all* candidates that were looked at on them. Plans that remember have
cluster_bootstrap.py instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Risk:
    """What is asked: an expected loss of at most `loss`, with this `confidence`."""

    loss: float = 0.05
    confidence: float = 0.9

    def __post_init__(self) -> None:
        for name, value in (("loss", self.loss), ("confidence", self.confidence)):
            if not 0.0 < value < 1.0:
                raise ValueError(f"0 < {name} < 1 must hold, but got {name}={value}")


@dataclass(frozen=True)
class Certificate:
    """What a sample of `objects` says of one of several `candidates` that were tested together.

    Their expected losses are all at most their `bound`, with the confidence of the `risk` asked.
    `observed` is the mean loss on the sample, None where it is empty.
    """

    certified: bool
    bound: float
    observed: float | None
    objects: int
    candidates: int
    risk: Risk

    @property
    def least(self) -> float:
        """The bound without any loss: below it nothing can be certified with so many objects."""
        if not self.objects:
            return 1.0
        error = (1.0 - self.risk.confidence) / self.candidates
        return float(scipy.stats.beta.isf(error, 1, self.objects))

    def text(self) -> str:
        """One line for tables and reports; bounds are rounded up."""
        plural = "" if self.candidates == 1 else "s"
        tested, size = f"{self.candidates} candidate{plural}", f"n = {self.objects}"
        if self.certified:
            sure = f"confidence {100 * self.risk.confidence:g} %"
            share = f"at most {_percent(self.bound)} of inputs"
            return f"disagrees with the full network on {share} ({sure}, {size}, {tested})"
        if self.least > self.risk.loss:
            best = f"even without one difference the bound would be {_percent(self.least)}"
            return f"not certifiable with {size} ({tested}): {best}"
        asked = f"{_percent(self.risk.loss)} asked"
        return f"not certified: {asked}, bound {_percent(self.bound)} at {size}"


def certify(losses: Sequence[Bools | Doubles], risk: Risk) -> list[Certificate]:
    """Certify candidates together, each from its losses (objects,) on independent objects.

    Losses of type bool are 0 or 1 by design (an image an object); all others are taken for values
    in [0, 1]. `losses` holds every candidate that was ever looked at on these objects.
    """
    error = (1.0 - risk.confidence) / max(len(losses), 1)
    found = []
    for own in losses:
        bound, count = _bound(own, error), len(own)
        observed = float(own.mean(dtype=np.float64)) if count else None
        certified = bound <= risk.loss
        found.append(Certificate(certified, bound, observed, count, len(losses), risk))
    return found


def losses_by_object(differs: Bools, objects: Ints) -> Bools | Doubles:
    """Losses (objects,), in the order of their numbers, from which inputs (n,) are answered
    otherwise than by the full network, and the object (n,) that each input shows.

    The loss of an object is the mean over its images. Where each has but one image, losses are 0
    or 1 by design, and so of type bool.
    """
    _, own, images = np.unique(objects, return_inverse=True, return_counts=True)
    sums = np.bincount(own, differs, minlength=len(images))
    if (images == 1).all():
        return sums > 0
    found: Doubles = sums / images
    return found


def _bound(losses: Bools | Doubles, error: float) -> float:
    """The smallest expected loss whose hypothesis is rejected with this error."""
    count, total = len(losses), float(losses.sum(dtype=np.float64))
    if not count:
        return 1.0
    if not (losses.min() >= 0.0 and losses.max() <= 1.0):
        got = f"(min={losses.min()}, max={losses.max()})"
        raise ValueError(f"0 <= loss <= 1 must hold, but got {got}")
    if total >= count:
        return 1.0
    if losses.dtype == np.bool_:
        return float(scipy.stats.beta.isf(error, total + 1, count - total))

    def excess(level: float) -> float:
        return hoeffding_bentkus(total, count, level) - error

    # The p-value falls from 1, at the mean itself, to 0, strictly.
    return float(scipy.optimize.brentq(excess, total / count, 1.0, xtol=1e-9))


def hoeffding_bentkus(total: float, count: int, level: float) -> float:
    """The p-value of 'the expected loss is above `level`' from `count` losses in [0, 1] of this
    total: the lesser of Hoeffding's and Bentkus' bounds on the probability of so low a mean."""
    mean = min(total / count, level)
    entropy = scipy.special.rel_entr
    divergence = entropy(mean, level) + entropy(1.0 - mean, 1.0 - level)
    # Thirds and the like may add up to a hair above a whole number.
    whole = math.ceil(round(total, 9))
    bentkus = math.e * float(scipy.special.bdtr(whole, count, level))
    return min(math.exp(-count * float(divergence)), bentkus)


def _percent(share: float) -> str:
    """Rounded up, to a hundredth of a percent below one percent, else to a tenth."""
    steps = 100 if share < 0.01 else 10
    percent = math.ceil(round(100 * steps * share, 6)) / steps
    return f"{percent:.{2 if percent < 1 else 1}f} %"
