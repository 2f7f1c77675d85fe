"""Intervals where frames depend on each other: on streams, and with a memory that the stream
fills. Whole blocks of frames are resampled (a stretch, an object, a stream), which are taken to
be independent of each other; frames within a block may depend as they like (the cluster bootstrap:
Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab.search.estimates.class_counts import CountFigure, class_counts
from trimtab.search.estimates.intervals import central, wilson

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_RESAMPLES = 1999
_AT_ONCE = 2**20  # blocks of the resamples that are looked at together: bounds the memory
_ACCELERATED = 1000  # blocks: beyond, the correction is nothing, and its cost is their square


def design_effect(objects: Ints) -> float:
    """How many times the variance of a mean over frames (n,) grows because frames share objects:
    n / n_eff with n_eff = n^2 / sum of n_i^2 (Kish, Survey Sampling, 1965). 1 where every frame
    shows another object; an upper limit, reached where an object's frames are all alike."""
    _, frames = np.unique(objects, return_counts=True)
    return float((frames.astype(np.float64) ** 2).sum() / len(objects))


def block_error(values: Doubles | Floats, blocks: Ints) -> float:
    """Standard error of the mean of values (n,) in blocks (n,) that are independent of each other
    (cluster-robust; Liang & Zeger, Biometrika 1986); infinite for a single block."""
    _, own = np.unique(blocks, return_inverse=True)
    sums = np.bincount(own, values - values.mean(dtype=np.float64))
    if len(sums) < 2:
        return float("inf")
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(values))


def enough(blocks: int, confidence: float = 0.95) -> bool:
    """Whether resampling so many blocks can hold what is promised; 95 % needs six. Resampled
    means stay between the least and the greatest of the blocks, and all lie on one side of the
    middle with probability 2^(1 - blocks)."""
    return 2.0 ** (1 - blocks) <= 1.0 - confidence


def block_interval(
    values: Doubles | Floats | Bools, blocks: Ints, confidence: float = 0.95, share: bool = False
) -> tuple[float, float] | None:
    """Two-sided interval of the mean of values (n,) by resampling the blocks (n,) they are of.
    None with fewer blocks than such an interval can be had from (:func:`enough`).

    Bias-corrected and accelerated (Efron, 1987), at a level raised as Student's t does for so few
    blocks (Hesterberg, The American Statistician 2015): plain percentiles of 20 blocks hold 90 %
    and less. `share` values are 0 or 1: where all are alike, resamples are too, and would claim
    to be certain; Wilson's interval counts the blocks then.
    """
    names, own, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    if not enough(len(names), confidence):
        return None
    exact = values.astype(np.float64)
    if share and np.ptp(exact) == 0.0:
        return wilson(len(names) * round(float(exact[0])), len(names), confidence)
    sums = np.bincount(own, exact)
    means = sums / sizes
    if np.ptp(means) <= 1e-12 * np.abs(means).max():
        return float(means.min()), float(means.max())

    def mean(sums: Doubles, sizes: Doubles, axis: int = -1) -> Doubles:
        found: Doubles = sums.sum(axis=axis) / sizes.sum(axis=axis)
        return found

    found = scipy.stats.bootstrap(
        (sums, sizes.astype(np.float64)),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(names)),
        confidence_level=raised(confidence, len(names)),
        method="BCa" if len(names) <= _ACCELERATED else "percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def block_count_interval(
    figure: CountFigure,
    labels: Ints,
    answers: Ints,
    blocks: Ints,
    confidence: float = 0.95,
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float] | None:
    """Two-sided interval of a figure of `answers` (n,) by resampling blocks (n,): the
    percentiles' spread is put around it, as in class_counts.py. None as in
    :func:`block_interval`."""
    names, own = np.unique(blocks, return_inverse=True)
    if not enough(len(names), confidence):
        return None
    known, found = np.unique(np.stack([labels, answers]), return_inverse=True)
    label, answer = found.reshape(2, -1)
    shape, right = (len(names), len(known)), label == answer
    by_block = [
        _counted(own, label, shape),
        _counted(own, answer, shape),
        _counted(own[right], label[right], shape),
    ]

    def drawn_figure(
        drawn: Ints, axis: int = -1
    ) -> Doubles:  # of the blocks of each resample (rows, n)
        first = len(names) * np.arange(len(drawn))[:, None]
        times = np.bincount((first + drawn).ravel(), minlength=drawn.size)
        weights = times.reshape(drawn.shape).astype(np.float64)
        return figure(*(weights @ counts for counts in by_block))

    resampled = scipy.stats.bootstrap(
        (np.arange(len(names)),),
        drawn_figure,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // max(len(names), len(known))),
        method="percentile",
        rng=np.random.default_rng(0),
    ).bootstrap_distribution
    shift = float(figure(*class_counts(labels, answers[None]))[0] - resampled.mean())
    low, high = central(resampled, raised(confidence, len(names)))
    return max(low + shift, limits[0]), min(high + shift, limits[1])


def _counted(rows: Ints, columns: Ints, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """How often each cell occurs."""
    return scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape)


def raised(confidence: float, blocks: int) -> float:
    """The level at which percentiles of a bootstrap of few blocks hold what is promised."""
    wider = scipy.stats.t.ppf((1 + confidence) / 2, blocks - 1) * np.sqrt(blocks / (blocks - 1))
    return min(float(1 - 2 * scipy.stats.norm.sf(wider)), 1 - 1 / _RESAMPLES)
