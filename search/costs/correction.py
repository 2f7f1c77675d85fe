"""Correction from measured bundles: a factor on predicted costs.

A bundle on the device differs from the sum of its measured parts in ways that plans of a device
share: its first call after a decoded image, allocators that stages share. So the logarithm of
measured / predicted is learned by a small ridge regression on what a plan is, and used only where
it predicts plans that it has not seen better than no correction does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trimtab_runtime.metrics import METRICS, find_metric

_FEATURES = ("base", "per_further_stage")
_FEWEST = 4  # plans to learn from
_PENALTY = 1.0


def corrected_metrics() -> list[str]:
    """The costs whose predictions are compared with those of bundles and corrected; others take
    their factors, or none."""
    return [name for name, metric in METRICS.items() if metric.corrected_by == name]


@dataclass(frozen=True)
class Correction:
    """measured = predicted * exp(base + per_further_stage * (stages - 1)), by metric."""

    models: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def factor(self, metric: str, stages: int) -> float:
        """What a predicted metric of a plan with so many stages is multiplied by."""
        known = self.models.get(find_metric(metric).corrected_by, {})
        values = [known.get(name, 0.0) for name in _FEATURES]
        return float(np.exp(np.dot(values, _row(stages))))


@dataclass(frozen=True)
class Pair:
    """A verified plan: its number of stages, what was predicted, and what its bundle gave;
    `disturbed` where one of the two was measured while something disturbed that."""

    stages: int
    predicted: float
    measured: float
    disturbed: bool = False


@dataclass(frozen=True)
class Learned:
    """A model with the median of |measured / predicted - 1|: `error_before` without it, and
    `error_held_out` with it, each plan predicted by a model that did not see it."""

    model: Mapping[str, float]
    plans: int
    error_before: float
    error_held_out: float


def learn(pairs: Sequence[Pair], prior: Mapping[str, float]) -> Learned | None:
    """Learn what is left after a `prior` model, which `predicted` holds already.

    None with fewer than four plans. Disturbed ones teach only where there are fewer than four
    others. Where held-out plans are not predicted better, the prior stays as it is.
    """
    from sklearn.linear_model import Ridge  # a second of imports
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    steady = [pair for pair in pairs if not pair.disturbed]
    pairs = steady if len(steady) >= _FEWEST else pairs
    if len(pairs) < _FEWEST:
        return None
    ratios = np.log([pair.measured / pair.predicted for pair in pairs])
    rows = np.array([_row(pair.stages) for pair in pairs])
    ridge = Ridge(alpha=_PENALTY, fit_intercept=False)
    foreseen = cross_val_predict(ridge, rows, ratios, cv=LeaveOneOut())
    before, held_out = (float(np.median(np.abs(np.expm1(r)))) for r in (ratios, ratios - foreseen))
    found = ridge.fit(rows, ratios).coef_ if held_out < before else np.zeros(len(_FEATURES))
    model = {
        name: prior.get(name, 0.0) + float(value)
        for name, value in zip(_FEATURES, found, strict=True)
    }
    return Learned(model, len(pairs), before, min(held_out, before))


def _row(stages: int) -> list[float]:
    return [1.0, float(stages - 1)]
