"""Images a class, and whether some classes are rare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from trimtab.workloads.workload import Workload

#: Classes are uneven where the commonest has so many times the images of the rarest, and more
#: than chance gives to even ones (chi-squared test).
_RATIO, _CHANCE = 3.0, 1e-3
_NAMED = 8


@dataclass(frozen=True)
class ClassCounts:
    """Images a class, of the classes that have any: (name, images), the commonest first."""

    counts: tuple[tuple[str, int], ...]

    @property
    def images(self) -> int:
        return sum(count for _, count in self.counts)

    @property
    def commonest(self) -> tuple[str, int]:
        return self.counts[0]

    @property
    def rarest(self) -> tuple[str, int]:
        return self.counts[-1]

    @property
    def uneven(self) -> bool:
        """Whether accuracy over all images says little of the rarest class."""
        values = [count for _, count in self.counts]
        if len(values) < 2 or values[0] < _RATIO * values[-1]:
            return False
        return bool(scipy.stats.chisquare(values).pvalue < _CHANCE)

    @property
    def text(self) -> str:
        """`good 396, scratch 4`; of many classes the ends."""
        told = [f"{name} {count}" for name, count in self.counts]
        if len(told) <= _NAMED:
            return ", ".join(told)
        return f"{', '.join(told[:3])}, ..., {', '.join(told[-3:])}"

    @property
    def warning(self) -> str | None:
        """What uneven classes mean for accuracy; None where they are even."""
        if not self.uneven:
            return None
        (common, most), (rare, few) = self.commonest, self.rarest
        return (
            f"the classes are uneven: {self.text}; to answer always {common} gives a top1 of "
            f"{most / self.images:.3f} and never finds {rare} ({few} image(s)): "
            "balanced_accuracy counts every class alike"
        )


def class_counts(workload: Workload) -> ClassCounts | None:
    """The images a class; None without labels."""
    if workload.labels is None:
        return None
    counts = np.bincount(workload.labels, minlength=len(workload.classes))
    order = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    return ClassCounts(tuple((workload.classes[index], int(counts[index])) for index in order))
