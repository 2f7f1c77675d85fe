"""Speeds of plans that took turns: ratios and means with 95 % intervals.

What a round met, all plans of it met; so a ratio is that of sums over the same rounds and images.
Its error is that of the outermost level that was repeated, as where benchmarks start processes
again (Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013): each sitting, in
which all processes are new, has one ratio, and these scatter as Student's t says, on a log scale.
That contains what lies below: rounds, and answers. Sittings have different images, so each answer
counts relative to what such an answer takes; and sittings of more answers weigh more (the
linearised error of a ratio: Cochran, Sampling Techniques, 1977, section 6.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    """Milliseconds of plans that took turns.

    `times_ms` (plans, answers): what each plan took for an image, all in the same round.
    `expected_ms` (plans, answers): what such an answer takes, in any unit of the plan's own: it
    says which images are harder, and `whole_ms` (plans,) is its mean over all the images that
    figures are to speak of. `sittings` and `rounds` (answers,) are the numbers of those.
    Raises ValueError for fewer than two answers: nothing is known of their error.
    """

    def __init__(
        self,
        times_ms: Doubles,
        expected_ms: Doubles,
        whole_ms: Doubles,
        sittings: Ints,
        rounds: Ints,
    ) -> None:
        if times_ms.shape[1] < 2:
            raise ValueError(f"two answers of each plan are needed, got {times_ms.shape[1]}")
        _, unit = np.unique(_repeated(sittings, rounds), return_inverse=True)
        took, expected = (
            np.stack([np.bincount(unit, row) for row in rows]) for rows in (times_ms, expected_ms)
        )
        self._shares = np.bincount(unit) / len(unit)
        paces = took.sum(1) / expected.sum(1)
        self._mean_ms = paces * whole_ms
        self._off = np.log(took / expected) - np.log(paces)[:, None]

    def mean_ms(self, plan: int, again: bool = False) -> Known:
        """Mean latency of a plan; with `again` within what one more run of it gives."""
        return self._known(self._mean_ms[plan], self._off[plan], again)

    def ratio(self, plan: int, other: int, again: bool = False) -> Known:
        """How many times as fast a plan is as another; with `again` within what one more run of
        both gives."""
        if plan == other:
            return Known(1.0, 1.0, 1.0)
        value = self._mean_ms[other] / self._mean_ms[plan]
        return self._known(value, self._off[other] - self._off[plan], again)

    def _known(self, value: float, off: Doubles, again: bool) -> Known:
        """A value of which units (u,) were `off` by so much, on a log scale."""
        count, off = len(off), off - self._shares @ off
        correction = count / (count - 1)
        variance = correction * float(self._shares**2 @ off**2)
        if again:
            variance += correction * float(self._shares @ off**2)
        half = np.sqrt(variance) * scipy.stats.t.ppf(0.975, count - 1)
        return Known(float(value), float(value * np.exp(-half)), float(value * np.exp(half)))


def _repeated(sittings: Ints, rounds: Ints) -> Ints:
    """The outermost of what was repeated: sittings, rounds, or answers."""
    for level in (sittings, rounds):
        if len(np.unique(level)) > 1:
            return level
    return np.arange(len(rounds))


def quiet_rounds(arrays: Mapping[str, NDArray[np.float64]], enough: float) -> list[int]:
    """The undisturbed rounds of a probe's answer (trimtab_runtime.probe.paired); all of them where
    these are fewer than the share `enough` of its blocks."""
    block, disturbed = arrays["round_block"], arrays["round_disturbed"].astype(bool)
    quiet = np.flatnonzero(~disturbed)
    if len(np.unique(block[quiet])) >= enough * len(np.unique(block)):
        return [int(number) for number in quiet]
    return list(range(len(block)))
