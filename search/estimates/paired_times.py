"""Speeds of plans that took turns: ratios and means with 95 % intervals.

What a round met, all plans of it met; so a ratio is that of sums over the same rounds and images.
Its error is that of resampled rounds, each with the blocks of all plans as it was: the upper level
of a hierarchical bootstrap, with the lower one drawn without replacement, which comes nearest to
the variance (Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
Levels are raised as Student's t does for few rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.cluster_bootstrap import raised

Doubles = NDArray[np.float64]

#: What the same file may differ by when it is started again, as a fraction (where its memory lies
#: is decided anew): nobody who measures it later can know it better.
RESTART = 0.01
_RESAMPLES = 1000


@dataclass(frozen=True)
class Known:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, told: Sequence[float]) -> Known:
        """From a list of three."""
        return cls(*map(float, told))

    def plain(self) -> list[float]:
        """For JSON."""
        return [self.value, self.low, self.high]

    def holds(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return self.low <= value <= self.high

    def times(self, factor: float) -> Known:
        """The same in another unit."""
        return Known(self.value * factor, self.low * factor, self.high * factor)

    def over(self, other: Known) -> Known:
        """The quotient of two ratios whose errors have nothing in common."""
        middle = self.value / other.value
        spans = (math.log(self.high / self.low), math.log(other.high / other.low))
        half = math.hypot(*spans) / 2
        return Known(middle, middle * math.exp(-half), middle * math.exp(half))


class PairedTimes:
    """Milliseconds of plans that took turns. `rounds` holds for each round an array (plans,
    images): a row a plan, a column an image that all of them answered in that round."""

    def __init__(self, rounds: Sequence[Doubles], seed: int = 0) -> None:
        filled = [times for times in rounds if times.size]
        if not filled:
            raise ValueError("at least one round with an image is needed")
        self._rounds, self._sums = len(filled), np.sum([t.sum(1) for t in filled], axis=0)
        self._images = sum(times.shape[1] for times in filled)
        self._drawn_sums, self._drawn_images = _resampled(filled, np.random.default_rng(seed))

    def mean_ms(self, plan: int) -> Known:
        """Mean latency of a plan."""
        return self._known(
            self._sums[plan] / self._images, self._drawn_sums[plan] / self._drawn_images
        )

    def ratio(self, plan: int, other: int) -> Known:
        """How many times as fast a plan is as another."""
        if plan == other:
            return Known(1.0, 1.0, 1.0)
        return self._known(
            self._sums[other] / self._sums[plan], self._drawn_sums[other] / self._drawn_sums[plan]
        )

    def _known(self, value: float, drawn: Doubles) -> Known:
        """Around a value, the spread of what was drawn, and what another start may change."""
        level = raised(0.95, self._rounds) if self._rounds > 1 else 0.95
        tails = np.quantile(drawn / value, [(1 - level) / 2, (1 + level) / 2])
        low, high = (float(np.hypot(tail, RESTART)) for tail in np.log(tails))
        return Known(float(value), float(value * np.exp(-low)), float(value * np.exp(high)))


def _resampled(rounds: Sequence[Doubles], generator: np.random.Generator) -> tuple[Doubles, ...]:
    """Sums (plans, draws) and numbers of images (draws,) of rounds drawn with replacement."""
    sums = np.stack([times.sum(1) for times in rounds])
    counts = np.array([times.shape[1] for times in rounds], np.float64)
    chosen = generator.integers(len(rounds), size=(len(rounds), _RESAMPLES))
    drawn_sums: Doubles = sums[chosen].sum(0).T
    drawn_images: Doubles = counts[chosen].sum(0)
    return drawn_sums, drawn_images


def quiet_rounds(arrays: Mapping[str, NDArray[np.float64]], enough: float) -> list[int]:
    """The undisturbed rounds of a probe's answer (trimtab_runtime.probe.paired); all of them where
    these are fewer than the share `enough` of its blocks."""
    block, disturbed = arrays["round_block"], arrays["round_disturbed"].astype(bool)
    quiet = np.flatnonzero(~disturbed)
    if len(np.unique(block[quiet])) >= enough * len(np.unique(block)):
        return [int(number) for number in quiet]
    return list(range(len(block)))
