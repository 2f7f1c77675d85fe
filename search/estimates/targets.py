"""How good answers are. Every metric here is a mean over inputs of a value of that input, so that
sweeps can add it up. Macro F1 is no such mean: sweeps add up its first-order change from the
answers of a baseline (the delta method), and what is told of it is exact (f1.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.cluster_bootstrap import block_f1_interval, block_interval
from trimtab.search.estimates.intervals import interval, is_share
from trimtab.search.estimates.macro_f1 import f1_slopes, macro_f1, macro_f1_interval
from trimtab_runtime.metrics import find_metric, recalled_class

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Metrics that labels give, beside the recall of each class.
LABEL_METRICS = ("top1", "top5", "balanced_accuracy", "macro_f1")
#: Metrics whose values are a first-order approximation away from the baseline.
LINEARISED = ("macro_f1",)

#: The interval of a metric of which too few blocks say nothing.
_ANYTHING = (0.0, 1.0)


def needs_labels(metric: str) -> bool:
    """Whether only labels can tell this quality; 'agreement' is known without them."""
    return find_metric(metric).kind == "quality" and metric != "agreement"


@dataclass(frozen=True)
class Targets:
    """What answers are compared with, on one split: labels (n,) or None, and what the reference
    member answers (n,) or None. `soft` (n, classes) are class probabilities that may stand in
    for labels; see guard.py. `classes` names the classes, for the recall of one; `around` (n,)
    are the answers where macro F1 is linearised, by default those that are looked at. `blocks`
    (n,) number the blocks of inputs that depend on each other, which intervals resample whole
    (blocks.py); without them, inputs are independent."""

    labels: Ints | None
    reference: Ints | None
    soft: Floats | None = None
    classes: tuple[str, ...] = ()
    around: Ints | None = None
    blocks: Ints | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that these targets can give, beside the recall of classes."""
        labelled = LABEL_METRICS if self.labels is not None else ()
        return labelled + (("agreement",) if self.reference is not None else ())

    def knows(self, metric: str) -> bool:
        """Whether these targets can give a metric: the recall of a class needs inputs of it."""
        of = recalled_class(metric)
        if of is None:
            return metric in self.metrics
        if self.labels is None or of not in self.classes:
            return False
        return bool((self.labels == self.classes.index(of)).any())

    def values(self, metric: str, probabilities: Floats) -> Floats:
        """(n,) values whose mean is the metric, of decided-on probabilities (n, classes)."""
        if metric == "agreement":
            assert self.reference is not None
            agreed: Floats = (probabilities.argmax(1) == self.reference).astype(np.float32)
            return agreed
        labels = self.labels
        assert labels is not None
        if metric == "top5":
            return _in_first(probabilities, labels, 5)
        share = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)

        def right(answer: Ints) -> Floats:
            found: Floats = (answer == labels).astype(np.float32)
            return found

        return self._weighted(metric, probabilities.argmax(1), right, share)

    def expected(self, metric: str, probabilities: Floats) -> Floats:
        """(n,) the values expected if classes are as probable as `soft` says: much less noisy.
        The agreement with the reference needs no label and is itself."""
        soft = self.soft
        if metric == "agreement" or soft is None:
            return self.values(metric, probabilities)
        if metric == "top5":
            best = min(5, probabilities.shape[1])
            first = np.argpartition(-probabilities, best - 1, axis=1)[:, :best]
            top: Floats = np.take_along_axis(soft, first, 1).sum(1)
            return top

        def right(answer: Ints) -> Floats:
            found: Floats = soft[np.arange(len(answer)), answer]
            return found

        return self._weighted(metric, probabilities.argmax(1), right, self._soft_share)

    def told(self, metric: str, probabilities: Floats) -> tuple[float, float, float]:
        """The metric itself, exact, with its 95 % interval. It is all of 0 to 1 where the inputs
        (of the class, for a recall) are of fewer than six blocks."""
        blocks = self.blocks
        if metric == "macro_f1":
            assert self.labels is not None
            answer = probabilities.argmax(1)
            value = float(macro_f1(self.labels, answer[None])[0])
            if blocks is None:
                return (value, *macro_f1_interval(self.labels, answer))
            return (value, *(block_f1_interval(self.labels, answer, blocks) or _ANYTHING))
        values = self.values(metric, probabilities)
        value = float(values.mean(dtype=np.float64))
        if recalled_class(metric) is not None:
            own = self.labels == self._recalled(metric)
            values = (values[own] > 0).astype(np.float32)
            blocks = None if blocks is None else blocks[own]
        if blocks is None:
            return (value, *interval(values, metric))
        found = block_interval(values, blocks, share=is_share(metric)) or _ANYTHING
        return value, max(0.0, found[0]), min(1.0, found[1])

    @cached_property
    def _soft_share(self) -> Doubles:
        assert self.soft is not None
        share: Doubles = self.soft.mean(0, dtype=np.float64)
        return share

    def _recalled(self, metric: str) -> int:
        of = recalled_class(metric)
        assert of is not None
        return self.classes.index(of)

    def _weighted(
        self, metric: str, answer: Ints, right: Callable[[Ints], Floats], share: Doubles
    ) -> Floats:
        """Values from how `right` (n,) answers are, weighted by the class that is answered.
        `share` (classes,) are the shares of the inputs that are of each class."""
        if metric == "top1":
            return right(answer)
        seen = share * len(answer) >= 0.5
        if metric == "macro_f1":
            around = answer if self.around is None else self.around
            by_right, by_answer, constant = f1_slopes(around, right(around), share, seen)
            values = right(answer) * by_right[answer] + by_answer[answer] + constant
            return values.astype(np.float32)
        weights = np.zeros(len(share))
        if metric == "balanced_accuracy":
            weights[seen] = 1.0 / (share[seen] * seen.sum())
        else:
            of = self._recalled(metric)
            weights[of] = 1.0 / max(float(share[of]), 1e-9)
        weighted: Floats = (right(answer) * weights[answer]).astype(np.float32)
        return weighted


def _in_first(probabilities: Floats, labels: Ints, count: int) -> Floats:
    """1 where fewer than `count` classes are strictly likelier than the label, or come first
    among equals."""
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    before = (probabilities == own) & (np.arange(probabilities.shape[1]) < labels[:, None])
    rank = (probabilities > own).sum(1) + before.sum(1)
    found: Floats = (rank < count).astype(np.float32)
    return found
