"""What only labelled images tell of a model's outputs: whether the first is a background, and the
threshold of a single score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from trimtab.search.estimates.metrics import quality_metric
from trimtab.search.estimates.targets import Targets
from trimtab.variants import answer_in_subprocess
from trimtab.workloads import Item
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError
from trimtab_runtime.plans.routing import calibrated

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Images that tell a background from a class, and the probability of telling so by chance.
_IMAGES, _ALPHA = 64, 0.01
#: Images of tune that a threshold is chosen on, and thresholds that are tried.
_TUNED_ON, _THRESHOLDS = 1000, 200
#: Parts of these for cross-fitting, and images of the rarest class below which there are none.
_PARTS, _LEAST = 5, 5
#: Images between two signs of life.
_AT_ONCE = 200


@dataclass(frozen=True)
class LabelledTrial:
    """Runs members on labelled images: `any_split` of fit and tune (never of test), and `tune`
    for what is chosen for the quality metric `metric`. An inference may take `limit_s`."""

    any_split: Sequence[Item]
    tune: Sequence[Item]
    classes: Sequence[str]
    metric: str
    limit_s: float
    alive: Callable[[], None] = lambda: None

    def background(self, path: Path, variant: Variant) -> tuple[int, str]:
        """The offset (0 or 1) of a model with one output more than classes, and what is told.

        Raises ModelError where there are no labels, or both fit about as well.
        """
        items = _labelled(self.any_split)[:_IMAGES]
        if not items:
            raise ModelError(self._unclear("and no image has a label that would tell"))
        outputs = self._answers(path, variant, items)
        labels = np.array([item.label for item in items])
        first, last = (
            (outputs[:, offset : offset + len(self.classes)].argmax(1) == labels)
            for offset in (1, 0)
        )
        figures = (
            f"{first.sum()} of {len(items)} images are answered rightly with the first output as "
            f"background, {last.sum()} with the last"
        )
        won, lost = int((first & ~last).sum()), int((last & ~first).sum())
        if won + lost == 0 or binomtest(won, won + lost).pvalue > _ALPHA:
            raise ModelError(self._unclear(figures))
        if lost > won:
            raise ModelError(
                f"{self._unclear(figures)}; name all {outputs.shape[1]} outputs in output.classes"
            )
        return 1, f"one output more than classes: {figures}"

    def _unclear(self, why: str) -> str:
        count = len(self.classes)
        return (
            f"the model has {count + 1} classes, the labels have {count}; {why}; set "
            "output.offset: 1 to drop a background class in front"
        )

    def threshold(self, path: Path, variant: Variant) -> tuple[float, str]:
        """The threshold of a single score that is best on tune for the metric, and what is told:
        what it is worth on these images, and fairly, by cross-fitting. Where that is no better
        than 0.5, it is 0.5.

        Raises ModelError for a model with a score a class, and where tune has no labels or the
        metric needs more than labels.
        """
        if variant.output.threshold is None:
            raise ModelError("output.threshold: tuned is for a single score")
        items = _labelled(self.tune)[:_TUNED_ON]
        labels = np.array([item.label for item in items], np.int64)
        judge, classes = quality_metric(self.metric), tuple(self.classes)
        if not judge.knows(Targets(labels if items else None, None, classes=classes)):
            raise ModelError(
                f"output.threshold: tuned is chosen for {self.metric} on tune, whose images have "
                "no labels that would tell it; give a number"
            )
        places = variant.output.groups or ((0,), (1,))
        plain = replace(variant, output=replace(variant.output, threshold=0.5, groups=None))
        score = calibrated(self._answers(path, plain, items), plain.output, 1.0)[:, 1]

        def value(rows: Ints, thresholds: float | Doubles) -> float:
            second = score[rows] > thresholds
            own = np.stack([~second, second], 1).astype(np.float32)
            found = own[:, [place[0] for place in places]]
            targets = Targets(labels[rows], None, classes=classes)
            return float(judge.values(targets, found).mean(dtype=np.float64))

        def best(rows: Ints) -> float:
            tried = [0.5, *_between(score[rows])]
            return max(tried, key=lambda t: (value(rows, t), -abs(t - 0.5)))

        every = np.arange(len(items))
        found = best(every)
        before, own = value(every, 0.5), value(every, found)
        told = f"for {self.metric}: {own:.3f} ({before:.3f} with 0.5) on the {len(items)} images"
        told = f"{told} that it was chosen on"
        parts = _parts(labels)
        if not parts or found == 0.5:
            return found, f"its threshold is {found:g}, the best of tune {told}"
        others = np.full(len(items), 0.5)
        for part in parts:
            others[part] = best(np.setdiff1d(every, part))
        fair = value(every, others)
        told = f"{told}, {fair:.3f} on each part of them by the threshold of the other parts"
        if fair > before:
            return found, f"its threshold is {found:g}, the best of tune {told}"
        return 0.5, f"its threshold stays 0.5: {found:g} is the best of tune {told}"

    def _answers(self, path: Path, variant: Variant, items: Sequence[Item]) -> Floats:
        found = []
        for start in range(0, len(items), _AT_ONCE):
            self.alive()
            images = [item.path for item in items[start : start + _AT_ONCE]]
            found.append(answer_in_subprocess(path, variant, images, self.limit_s))
        return np.concatenate(found)


def _labelled(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.label is not None]


def _parts(labels: Ints) -> list[Ints]:
    """The numbers of images in parts that have each class alike; none where one is too rare."""
    rarest = int(np.unique(labels, return_counts=True)[1].min(initial=len(labels)))
    if rarest < _LEAST:
        return []
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return [np.concatenate([place[n::_PARTS] for place in places]) for n in range(_PARTS)]


def _between(score: Floats) -> list[float]:
    """Thresholds between neighbouring scores, in four digits; of many some, evenly spread."""
    known = np.unique(score.astype(np.float64))
    middle = (known[1:] + known[:-1]) / 2
    if len(middle) > _THRESHOLDS:
        middle = middle[np.linspace(0, len(middle) - 1, _THRESHOLDS).astype(int)]
    return sorted({float(f"{t:.4g}") for t in middle if 0 < float(f"{t:.4g}") < 1})
