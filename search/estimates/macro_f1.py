"""Macro F1: the mean, over the classes that are anybody's label, of F1 = 2 * right / (inputs of
the class + answers of the class). It is not a mean over inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.intervals import central, resamples

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def macro_f1(labels: Ints, answers: Ints) -> Doubles:
    """(rows,) macro F1 of each row of `answers` (rows, n), exact. `labels` are (n,), or of the
    same shape as the answers."""
    classes = 1 + max(int(labels.max()), int(answers.max()))
    first = classes * np.arange(len(answers))[:, None]

    def count(cells: Ints) -> Doubles:
        size = len(answers) * classes
        return np.bincount(cells.ravel(), minlength=size).reshape(-1, classes).astype(np.float64)

    right = count((first + answers)[answers == labels])
    return f1_of_counts(count(first + labels), count(first + answers), right)


def f1_of_counts(of_class: Doubles, answered: Doubles, right: Doubles) -> Doubles:
    """(rows,) macro F1 from numbers of inputs (rows, classes): `of_class`, `answered` so, and
    both (`right`)."""
    f1 = 2.0 * right / np.maximum(of_class + answered, 1.0)
    seen = of_class > 0
    found: Doubles = np.where(seen, f1, 0.0).sum(1) / seen.sum(1)
    return found


def f1_slopes(
    answers: Ints, right: Floats, share: Doubles, seen: NDArray[np.bool_]
) -> tuple[Doubles, Doubles, float]:
    """Macro F1 around `answers` (n,) to first order (the delta method): the mean over inputs of
    by_right[a] where an answer a is right, plus by_answer[a], plus a constant. Exact at `answers`.

    `right` (n,) says how right the answers are, `share` (classes,) how frequent each class is,
    and `seen` which classes count. Returns by_right (classes,), by_answer (classes,), constant.
    """
    count, classes = len(answers), len(share)
    hits = np.bincount(answers, right, minlength=classes) / count
    answered = np.bincount(answers, minlength=classes) / count
    both, number = share + answered, int(seen.sum())
    by_right, by_answer = np.zeros(classes), np.zeros(classes)
    by_right[seen] = 2.0 / (number * both[seen])
    by_answer[seen] = -2.0 * hits[seen] / (number * both[seen] ** 2)
    return by_right, by_answer, -float(by_answer @ answered)


def macro_f1_interval(
    labels: Ints, answers: Ints, confidence: float = 0.95
) -> tuple[float, float]:
    """Two-sided interval of macro F1: the bootstrap's over inputs, of the exact figure.

    With few inputs a class, F1 is biased by the size of the sample, and so are the resamples, by
    as much again: their percentiles may lie beside the figure. Their spread is put around it.
    """
    _, known = np.unique(np.stack([labels, answers]), return_inverse=True)
    labels, answers = known.reshape(2, -1)
    found = [macro_f1(labels[rows], answers[rows]) for rows in resamples(len(labels))]
    resampled = np.concatenate(found)
    shift = float(macro_f1(labels, answers[None])[0] - resampled.mean())
    low, high = central(resampled, confidence)
    return max(low + shift, 0.0), min(high + shift, 1.0)
