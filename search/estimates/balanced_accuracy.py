"""Balanced accuracy: the mean recall of the classes that are anybody's label."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

#: Inputs that are counted with each class, right as often as the classes are on average: the
#: recall of a class with one or two inputs is known too little to say how much it varies.
_PRIOR = 2.0


def balanced_of_counts(of_class: Doubles, answered: Doubles, right: Doubles) -> Doubles:
    """(rows,) balanced accuracy from numbers of inputs (rows, classes): see
    `class_counts.CountFigure`."""
    seen = of_class > 0
    recalls = np.where(seen, right / np.maximum(of_class, 1.0), 0.0)
    found: Doubles = recalls.sum(1) / seen.sum(1)
    return found


def balanced_interval(
    of_class: Doubles, right: Doubles, confidence: float = 0.95
) -> tuple[float, float]:
    """Two-sided interval of balanced accuracy from numbers of independent inputs (classes,).

    Wilson's, of as many inputs as would make a plain share vary as much (the effective number of
    Kish, Survey Sampling, 1965), so it lies within 0 and 1, and is Wilson's own for one class.
    """
    seen = of_class > 0
    count, hits, classes = of_class[seen], right[seen], int(seen.sum())
    value = float((hits / count).mean())
    # Where all classes are alike; and never more, as few inputs do not show how alike they are.
    effective = classes**2 / float((1.0 / count).sum())
    if 0.0 < value < 1.0:
        recalls = (hits + _PRIOR * value) / (count + _PRIOR)
        variance = float((recalls * (1.0 - recalls) / count).sum()) / classes**2
        effective = min(effective, value * (1.0 - value) / variance)
    return _wilson(value, effective, confidence)


def _wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share of a number of inputs that need not be whole."""
    z = float(scipy.stats.norm.ppf((1.0 + confidence) / 2.0))
    scale = 1.0 + z**2 / count
    middle = (share + z**2 / (2.0 * count)) / scale
    half = z * np.sqrt(share * (1.0 - share) / count + z**2 / (4.0 * count**2)) / scale
    # At 0 and 1 the two terms are equal, up to their last digits.
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
