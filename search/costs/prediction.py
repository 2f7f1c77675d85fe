"""How far measured costs lie from predicted ones, and the intervals that follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy

from trimtab.search.costs.correction import Pair

#: What is taken of a device that nothing is known of: predictions off by a tenth, as if that had
#: been seen in so many plans.
_SPREAD, _PLANS = 0.10, 4
_LEVEL = 0.95


@dataclass(frozen=True)
class PredictionErrors:
    """The errors of predictions that verified `plans` showed: the sum of the `squares` of
    log(measured / predicted)."""

    plans: int = 0
    squares: float = 0.0

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> PredictionErrors:
        """The errors in pairs of predicted and measured costs; what was disturbed teaches
        nothing."""
        errors = [np.log(p.measured / p.predicted) for p in pairs if not p.disturbed]
        return cls(len(errors), float(np.square(errors).sum()))

    def __add__(self, other: PredictionErrors) -> PredictionErrors:
        return PredictionErrors(self.plans + other.plans, self.squares + other.squares)

    def interval(self, predicted: float) -> tuple[float, float]:
        """What a new plan will measure with a probability of 95 %."""
        freedom = _PLANS + self.plans
        spread = np.sqrt((_PLANS * _SPREAD**2 + self.squares) / freedom)
        half = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, freedom) * spread)
        return predicted * float(np.exp(-half)), predicted * float(np.exp(half))

    def covers(self, pair: Pair) -> bool:
        """Whether a plan measured what its interval promised."""
        low, high = self.interval(pair.predicted)
        return low <= pair.measured <= high
