"""What only labelled images tell of a model's outputs: whether the first is a background, and the
threshold of a single score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab.search.estimates.metrics import quality_metric
from trimtab.search.estimates.targets import Targets
from trimtab.variants import answer_in_subprocess
from trimtab.workloads import Item
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError
from trimtab_runtime.plans.routing import calibrated

Floats = NDArray[np.float32]

#: Images that tell a background from a class, and the probability of telling so by chance.
_IMAGES, _ALPHA = 64, 0.01
#: Images of tune that a threshold is chosen on, and thresholds that are tried.
_TUNED_ON, _THRESHOLDS = 1000, 200
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
        if won + lost == 0 or scipy.stats.binomtest(won, won + lost).pvalue > _ALPHA:
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
        """The threshold of a single score that is best on tune for the metric, and what is told.

        Raises ModelError for a model with a score a class, and where tune has no labels or the
        metric needs more than labels.
        """
        if variant.output.threshold is None:
            raise ModelError("output.threshold: tuned is for a single score")
        items = _labelled(self.tune)[:_TUNED_ON]
        labels = np.array([item.label for item in items], np.int64)
        targets = Targets(labels if items else None, None, classes=tuple(self.classes))
        judge = quality_metric(self.metric)
        if not judge.knows(targets):
            raise ModelError(
                f"output.threshold: tuned is chosen for {self.metric} on tune, whose images have "
                "no labels that would tell it; give a number"
            )
        places = variant.output.groups or ((0,), (1,))
        plain = replace(variant, output=replace(variant.output, threshold=0.5, groups=None))
        score = calibrated(self._answers(path, plain, items), plain.output, 1.0)[:, 1]

        def value(threshold: float) -> float:
            second = score > threshold
            own = np.stack([~second, second], 1).astype(np.float32)
            found = own[:, [place[0] for place in places]]
            return float(judge.values(targets, found).mean(dtype=np.float64))

        before = value(0.5)
        best = max(_between(score), key=lambda t: (value(t), -abs(t - 0.5)), default=0.5)
        best = best if value(best) > before else 0.5
        return best, (
            f"its threshold is {best:g}, the best of tune for {self.metric}: {value(best):.3f} "
            f"({before:.3f} with 0.5) on the {len(items)} images that it was chosen on"
        )

    def _answers(self, path: Path, variant: Variant, items: Sequence[Item]) -> Floats:
        found = []
        for start in range(0, len(items), _AT_ONCE):
            self.alive()
            images = [item.path for item in items[start : start + _AT_ONCE]]
            found.append(answer_in_subprocess(path, variant, images, self.limit_s))
        return np.concatenate(found)


def _labelled(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.label is not None]


def _between(score: Floats) -> list[float]:
    """Thresholds between neighbouring scores, in four digits; of many some, evenly spread."""
    known = np.unique(score.astype(np.float64))
    middle = (known[1:] + known[:-1]) / 2
    if len(middle) > _THRESHOLDS:
        middle = middle[np.linspace(0, len(middle) - 1, _THRESHOLDS).astype(int)]
    return sorted({float(f"{t:.4g}") for t in middle if 0 < float(f"{t:.4g}") < 1})
