"""Figures of how many inputs are of each class, how many are answered so, and how many are both
(macro F1, kappa and the like), with intervals. They are no means over inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.intervals import central, resamples

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

#: A figure (rows,) of numbers of inputs, each (rows, classes): of each class, answered so, both.
#: Classes that are nobody's label and never answered do not change it.
CountFigure = Callable[[Doubles, Doubles, Doubles], Doubles]


def class_counts(labels: Ints, answers: Ints) -> tuple[Doubles, Doubles, Doubles]:
    """Numbers of inputs, each (rows, classes), in each row of `answers` (rows, n): of each class,
    answered so, and both. `labels` are (n,), or of the same shape as the answers."""
    classes = 1 + max(int(labels.max()), int(answers.max()))
    first = classes * np.arange(len(answers))[:, None]

    def count(cells: Ints) -> Doubles:
        size = len(answers) * classes
        return np.bincount(cells.ravel(), minlength=size).reshape(-1, classes).astype(np.float64)

    right = count((first + answers)[answers == labels])
    return count(first + labels), count(first + answers), right


def count_interval(
    figure: CountFigure,
    labels: Ints,
    answers: Ints,
    confidence: float = 0.95,
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """Two-sided interval of a figure of `answers` (n,): the bootstrap's over inputs.

    With few inputs a class, such figures are biased by the size of the sample, and so are the
    resamples, by as much again: their percentiles may lie beside the figure. Their spread is put
    around it, within the `limits` of the figure.
    """
    _, known = np.unique(np.stack([labels, answers]), return_inverse=True)
    labels, answers = known.reshape(2, -1)
    found = [figure(*class_counts(labels[rows], answers[rows])) for rows in resamples(len(labels))]
    resampled = np.concatenate(found)
    shift = float(figure(*class_counts(labels, answers[None]))[0] - resampled.mean())
    low, high = central(resampled, confidence)
    return max(low + shift, limits[0]), min(high + shift, limits[1])
