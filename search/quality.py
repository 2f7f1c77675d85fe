"""How good answers are. Every metric here is a mean over inputs of a value of that input, so that
sweeps can add it up; a metric's weight on an input is fixed by labels, never by answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Metrics that need labels; without labels only 'agreement' is known.
LABEL_METRICS = ("top1", "top5", "balanced_accuracy")


@dataclass(frozen=True)
class Targets:
    """What answers are compared with, on one split: labels (n,) or None, and what the reference
    member answers (n,) or None. `soft` (n, classes) are class probabilities that may stand in
    for labels; see guard.py."""

    labels: Ints | None
    reference: Ints | None
    soft: Floats | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that these targets can give."""
        labelled = LABEL_METRICS if self.labels is not None else ()
        return labelled + (("agreement",) if self.reference is not None else ())

    def values(self, metric: str, probabilities: Floats) -> Floats:
        """(n,) values whose mean is the metric, of decided-on probabilities (n, classes)."""
        if metric == "agreement":
            assert self.reference is not None
            agreed: Floats = (probabilities.argmax(1) == self.reference).astype(np.float32)
            return agreed
        assert self.labels is not None
        if metric == "top5":
            return _in_first(probabilities, self.labels, 5)
        correct: Floats = (probabilities.argmax(1) == self.labels).astype(np.float32)
        return correct if metric == "top1" else correct * self._class_weights()

    def expected(self, metric: str, probabilities: Floats) -> Floats:
        """(n,) the values expected if classes are as probable as `soft` says: much less noisy.
        The agreement with the reference needs no label and is itself."""
        if metric == "agreement" or self.soft is None:
            return self.values(metric, probabilities)
        if metric == "top5":
            best = min(5, probabilities.shape[1])
            first = np.argpartition(-probabilities, best - 1, axis=1)[:, :best]
            top: Floats = np.take_along_axis(self.soft, first, 1).sum(1)
            return top
        answer = probabilities.argmax(1)
        found: Floats = self.soft[np.arange(len(answer)), answer]
        if metric == "top1":
            return found
        frequency = self.soft.mean(0)
        seen = frequency * len(self.soft) >= 0.5
        weights = np.where(seen, 1.0 / (np.maximum(frequency, 1e-9) * seen.sum()), 0.0)
        weighted: Floats = (found * weights[answer]).astype(np.float32)
        return weighted

    def _class_weights(self) -> Floats:
        assert self.labels is not None
        _, inverse, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        share = len(self.labels) / (len(counts) * counts)
        weights: Floats = share[inverse].astype(np.float32)
        return weights


def _in_first(probabilities: Floats, labels: Ints, count: int) -> Floats:
    """1 where fewer than `count` classes are strictly likelier than the label, or come first
    among equals."""
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    before = (probabilities == own) & (np.arange(probabilities.shape[1]) < labels[:, None])
    rank = (probabilities > own).sum(1) + before.sum(1)
    found: Floats = (rank < count).astype(np.float32)
    return found


def interval(values: Floats, metric: str, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a mean over inputs: Wilson's for shares, the bootstrap's else."""
    if metric in ("top1", "top5", "agreement"):
        found = stats.binomtest(round(float(values.sum())), len(values)).proportion_ci(
            confidence, method="wilson"
        )
        return float(found.low), float(found.high)
    sampled = stats.bootstrap(
        (values.astype(np.float64),),
        np.mean,
        confidence_level=confidence,
        n_resamples=999,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(sampled.low), float(sampled.high)
