"""The quality metrics, one class each, and the registry that all others ask.

To add one, define it in `trimtab_runtime.metrics` and write its class here, decorated with
:func:`register`. tests/search/estimates/test_search_metrics.py then holds it to what is promised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from trimtab.search.estimates.balanced_accuracy import balanced_interval, balanced_of_counts
from trimtab.search.estimates.class_counts import class_counts
from trimtab.search.estimates.cluster_bootstrap import block_count_interval
from trimtab.search.estimates.macro_f1 import f1_of_counts, f1_slopes
from trimtab.search.estimates.metric_bases import (
    AnswerMetric,
    Bools,
    Doubles,
    Floats,
    Ints,
    LinearisedMetric,
    QualityMetric,
    Rightness,
)
from trimtab.search.estimates.targets import Targets
from trimtab_runtime.metrics import find_metric, recalled_class

QUALITY_METRICS: dict[str, QualityMetric] = {}
_Kind = TypeVar("_Kind", bound=type[QualityMetric])


def register(kind: _Kind) -> _Kind:
    """Make a metric known by its name, which must be that of a quality in
    `trimtab_runtime.metrics`."""
    defined = find_metric(kind.name)
    if defined.kind != "quality" or not defined.maximise:
        raise ValueError(f"{kind.name!r} must be a quality of which more is better: {defined}")
    QUALITY_METRICS[kind.name] = kind()
    return kind


def quality_metric(name: str) -> QualityMetric:
    """The quality metric of this name: a registered one, or the recall of a class.

    Raises ValueError for any other name.
    """
    of = recalled_class(name)
    if of is not None:
        return Recall(of)
    if name not in QUALITY_METRICS:
        raise ValueError(f"{name!r} is no quality metric: {', '.join(QUALITY_METRICS)}")
    return QUALITY_METRICS[name]


def known_metrics(targets: Targets) -> tuple[str, ...]:
    """The metrics that targets can tell, beside the recall of classes."""
    return tuple(name for name, metric in QUALITY_METRICS.items() if metric.knows(targets))


def can_tell(targets: Targets, name: str) -> bool:
    """Whether a metric, of whatever kind, is a quality that targets can tell."""
    return find_metric(name).kind == "quality" and quality_metric(name).knows(targets)


def needs_labels(name: str) -> bool:
    """Whether a metric, of whatever kind, is a quality that only labels can tell."""
    return find_metric(name).kind == "quality" and quality_metric(name).needs_labels


def needs_reference(name: str) -> bool:
    """Whether a metric, of whatever kind, is a quality that compares with a reference member."""
    return find_metric(name).kind == "quality" and quality_metric(name).needs_reference


def linearised(names: Iterable[str]) -> list[str]:
    """Those of the quality metrics whose values are approximations away from the baseline."""
    return [name for name in names if not quality_metric(name).linear]


@register
class Top1(AnswerMetric):
    name = "top1"
    share = True

    def judged(self, targets: Targets, answer: Ints, right: Rightness, share: Doubles) -> Floats:
        return right(answer)


@register
class Top5(QualityMetric):
    name = "top5"
    share = True

    def values(self, targets: Targets, probabilities: Floats) -> Floats:
        """1 where fewer than five classes are strictly likelier than the label, or come first
        among equals."""
        assert targets.labels is not None
        label = targets.labels[:, None]
        own = np.take_along_axis(probabilities, label, 1)
        before = (probabilities == own) & (np.arange(probabilities.shape[1]) < label)
        rank = (probabilities > own).sum(1) + before.sum(1)
        found: Floats = (rank < 5).astype(np.float32)
        return found

    def expected(self, targets: Targets, probabilities: Floats) -> Floats:
        if targets.soft is None:
            return self.values(targets, probabilities)
        best = min(5, probabilities.shape[1])
        first = np.argpartition(-probabilities, best - 1, axis=1)[:, :best]
        found: Floats = np.take_along_axis(targets.soft, first, 1).sum(1)
        return found


@register
class BalancedAccuracy(AnswerMetric):
    name = "balanced_accuracy"

    def judged(self, targets: Targets, answer: Ints, right: Rightness, share: Doubles) -> Floats:
        seen = share * len(answer) >= 0.5
        weights = np.zeros(len(share))
        weights[seen] = 1.0 / (share[seen] * seen.sum())
        found: Floats = (right(answer) * weights[answer]).astype(np.float32)
        return found

    def told(self, targets: Targets, probabilities: Floats) -> tuple[float, float, float]:
        labels, answer, limits = targets.labels, probabilities.argmax(1), self.limits
        assert labels is not None
        counts = class_counts(labels, answer[None])
        value = float(balanced_of_counts(*counts)[0])
        if targets.blocks is None:
            return (value, *balanced_interval(counts[0][0], counts[2][0]))
        blocks = targets.blocks
        found = block_count_interval(balanced_of_counts, labels, answer, blocks, limits=limits)
        return (value, *(found or limits))


@register
class MacroF1(LinearisedMetric):
    name = "macro_f1"

    def figure(self, of_class: Doubles, answered: Doubles, right: Doubles) -> Doubles:
        return f1_of_counts(of_class, answered, right)

    def slopes(
        self, share: Doubles, answered: Doubles, hits: Doubles, seen: Bools
    ) -> tuple[Doubles, Doubles, float]:
        return f1_slopes(share, answered, hits, seen)


@register
class Agreement(QualityMetric):
    name = "agreement"
    needs_labels, needs_reference = False, True
    share = True

    def values(self, targets: Targets, probabilities: Floats) -> Floats:
        assert targets.reference is not None
        found: Floats = (probabilities.argmax(1) == targets.reference).astype(np.float32)
        return found


class Recall(AnswerMetric):
    """The recall of one class; its interval is of the inputs of that class."""

    share = True

    def __init__(self, of: str) -> None:
        self.name, self._of = f"recall[{of}]", of

    def knows(self, targets: Targets) -> bool:
        if targets.labels is None or self._of not in targets.classes:
            return False
        return bool((targets.labels == targets.classes.index(self._of)).any())

    def judged(self, targets: Targets, answer: Ints, right: Rightness, share: Doubles) -> Floats:
        weights, of = np.zeros(len(share)), targets.classes.index(self._of)
        weights[of] = 1.0 / max(float(share[of]), 1e-9)
        found: Floats = (right(answer) * weights[answer]).astype(np.float32)
        return found

    def _sample(self, targets: Targets, values: Floats) -> tuple[Floats, Ints | None]:
        own = targets.labels == targets.classes.index(self._of)
        blocks = None if targets.blocks is None else targets.blocks[own]
        return (values[own] > 0).astype(np.float32), blocks
