"""What every quality metric gives, and what metrics of one kind have in common.

Sweeps add up values of inputs, so every metric gives one value an input, whose mean is the metric.
A metric that is no such mean (macro F1) gives its first-order change from the answers of a
baseline (the delta method) to sweeps; whatever is told of it is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.class_counts import class_counts, count_interval
from trimtab.search.estimates.cluster_bootstrap import block_count_interval, block_interval
from trimtab.search.estimates.intervals import interval
from trimtab.search.estimates.targets import Targets

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: How right answers (n,) are: 0 or 1 by labels, else with which probability.
Rightness = Callable[[Ints], Floats]


class QualityMetric(ABC):
    """A metric of answers that are decided on `probabilities` (n, classes); more is better.

    `needs_labels` and `needs_reference` say what it compares with. `share`: values are 0 or 1.
    `linear`: it is a mean over inputs, also of answers other than the baseline's. It lies within
    `limits`.
    """

    name: str
    needs_labels: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    share: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def knows(self, targets: Targets) -> bool:
        """Whether these targets can tell the metric."""
        labelled = targets.labels is not None or not self.needs_labels
        return labelled and (targets.reference is not None or not self.needs_reference)

    @abstractmethod
    def values(self, targets: Targets, probabilities: Floats) -> Floats:
        """(n,) values whose mean is the metric."""

    def expected(self, targets: Targets, probabilities: Floats) -> Floats:
        """(n,) the values expected if classes are as probable as `targets.soft` says: much less
        noisy. What needs no label is itself."""
        return self.values(targets, probabilities)

    def told(self, targets: Targets, probabilities: Floats) -> tuple[float, float, float]:
        """The metric itself, exact, with its 95 % interval: all of its limits where the inputs
        are of fewer than six blocks."""
        values = self.values(targets, probabilities)
        value = float(values.mean(dtype=np.float64))
        values, blocks = self._sample(targets, values)
        if blocks is None:
            return (value, *interval(values, self.share))
        low, high = self.limits
        found = block_interval(values, blocks, share=self.share) or self.limits
        return value, max(low, found[0]), min(high, found[1])

    def _sample(self, targets: Targets, values: Floats) -> tuple[Floats, Ints | None]:
        """The values, and their blocks, that the interval is had from."""
        return values, targets.blocks


class AnswerMetric(QualityMetric):
    """A metric of first answers: of how right each is, and which class it names."""

    def values(self, targets: Targets, probabilities: Floats) -> Floats:
        labels = targets.labels
        assert labels is not None
        share = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)

        def right(answer: Ints) -> Floats:
            found: Floats = (answer == labels).astype(np.float32)
            return found

        return self.judged(targets, probabilities.argmax(1), right, share)

    def expected(self, targets: Targets, probabilities: Floats) -> Floats:
        soft = targets.soft
        if soft is None:
            return self.values(targets, probabilities)

        def right(answer: Ints) -> Floats:
            found: Floats = soft[np.arange(len(answer)), answer]
            return found

        return self.judged(targets, probabilities.argmax(1), right, targets.soft_share)

    @abstractmethod
    def judged(self, targets: Targets, answer: Ints, right: Rightness, share: Doubles) -> Floats:
        """(n,) values of answers (n,). `share` (classes,) are the shares of the inputs that are
        of each class."""


class LinearisedMetric(AnswerMetric):
    """A metric of how many inputs are of each class, are answered so, and are both. Its values
    are exact at the answers `targets.around`, and of first order elsewhere."""

    linear = False

    @abstractmethod
    def figure(self, of_class: Doubles, answered: Doubles, right: Doubles) -> Doubles:
        """(rows,) the metric from numbers of inputs, each (rows, classes): see
        `class_counts.CountFigure`."""

    @abstractmethod
    def slopes(
        self, share: Doubles, answered: Doubles, hits: Doubles, seen: Bools
    ) -> tuple[Doubles, Doubles, float]:
        """How the metric changes with shares of inputs (classes,), `share` held fast: `by_right`
        with `hits`, `by_answer` with `answered`; and the constant with which
        `by_right @ hits + by_answer @ answered + constant` is the metric. `seen`: the classes
        that are somebody's label."""

    def exact(self, targets: Targets, answers: Ints) -> Doubles:
        """(rows,) the metric of each row of `answers` (rows, n)."""
        assert targets.labels is not None
        return self.figure(*class_counts(targets.labels, answers))

    def judged(self, targets: Targets, answer: Ints, right: Rightness, share: Doubles) -> Floats:
        around = answer if targets.around is None else targets.around
        count, classes = len(around), len(share)
        hits = np.bincount(around, right(around), minlength=classes) / count
        answered = np.bincount(around, minlength=classes) / count
        slopes = self.slopes(share, answered, hits, share * count >= 0.5)
        by_right, by_answer, constant = slopes
        values = right(answer) * by_right[answer] + by_answer[answer] + constant
        return values.astype(np.float32)

    def told(self, targets: Targets, probabilities: Floats) -> tuple[float, float, float]:
        labels, answer, limits = targets.labels, probabilities.argmax(1), self.limits
        assert labels is not None
        value = float(self.exact(targets, answer[None])[0])
        if targets.blocks is None:
            return (value, *count_interval(self.figure, labels, answer, limits=limits))
        found = block_count_interval(self.figure, labels, answer, targets.blocks, limits=limits)
        return (value, *(found or limits))
