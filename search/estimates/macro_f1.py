"""Macro F1: the mean, over the classes that are anybody's label, of F1 = 2 * right / (inputs of
the class + answers of the class). It is not a mean over inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def f1_of_counts(of_class: Doubles, answered: Doubles, right: Doubles) -> Doubles:
    """(rows,) macro F1 from numbers of inputs (rows, classes): `of_class`, `answered` so, and
    both (`right`)."""
    f1 = 2.0 * right / np.maximum(of_class + answered, 1.0)
    seen = of_class > 0
    found: Doubles = np.where(seen, f1, 0.0).sum(1) / seen.sum(1)
    return found


def f1_slopes(
    share: Doubles, answered: Doubles, hits: Doubles, seen: Bools
) -> tuple[Doubles, Doubles, float]:
    """How macro F1 changes to first order with the shares of inputs (classes,) that are
    `answered` with a class, and with those that are so rightly (`hits`); `share` are of a class,
    and `seen` says which classes count.

    Returns by_right (classes,), by_answer (classes,), and the constant with which
    `by_right @ hits + by_answer @ answered + constant` is macro F1 here.
    """
    both, number = share + answered, int(seen.sum())
    by_right, by_answer = np.zeros(len(share)), np.zeros(len(share))
    by_right[seen] = 2.0 / (number * both[seen])
    by_answer[seen] = -2.0 * hits[seen] / (number * both[seen] ** 2)
    return by_right, by_answer, -float(by_answer @ answered)
