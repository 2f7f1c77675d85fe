"""Quality of unbuilt variants from their parents.

A Gaussian process on the log odds of the metric (Rasmussen and Williams, 2006): members differ;
what a step costs is much the same for all of them, and smooth in how much was changed, but for
what is a member's own. Runtime options change no answers, or few. How much steps cost is chosen
by evidence.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.search.predictors.base import Doubles, Prediction, Predictor, to_scale
from trimtab.search.predictors.description import Description
from trimtab.variants import SCHEMES

#: Standard deviations in log odds: of members, of what steps cost and what they cost one member
#: more (each to be chosen from), and of noise.
_MEMBERS, _NOISE = 1.0, 0.03
_STEPS, _OWN = (1.0, 0.3, 3.0), (0.3, 0.1, 1.0)
#: What a step is expected to cost where it is taken farthest.
_EXPECTED, _QUANTISED = -0.5, -0.1
#: Length scales: of how far a step is taken (the farthest is 1), where features do not count, and
#: where all that differ are strangers.
_LENGTH, _FAR, _NEAR = 0.7, 1e3, 1e-2
_MIDDLING = 0.7


class QualityPredictor(Predictor):
    """Predicts a quality, a fraction from 0 to 1."""

    def predict(
        self, known: Sequence[Description], values: Doubles, wanted: Sequence[Description]
    ) -> Prediction:
        from sklearn.gaussian_process import GaussianProcessRegressor

        steps, members, expected = _features([*known, *wanted])
        n, features = len(known), np.hstack([steps, members])
        target = to_scale(self.metric, values) - expected[:n]
        middle = to_scale(self.metric, np.array([_MIDDLING]))[0] if n == 0 else np.median(target)
        models = [
            GaussianProcessRegressor(
                _kernel(steps.shape[1], members.shape[1], *scales), optimizer=None
            )
            for scales in itertools.product(_STEPS, _OWN)
        ]
        if n:
            models = [model.fit(features[:n], target - middle) for model in models]
            models.sort(key=lambda model: -model.log_marginal_likelihood_value_)
        mean, spread = models[0].predict(features[n:], return_std=True)
        return Prediction(self.metric, middle + expected[n:] + mean, np.hypot(spread, _NOISE))


def _features(found: Sequence[Description]) -> tuple[Doubles, Doubles, Doubles]:
    """How far each step is taken (n, steps), the farthest being 1; members as columns (n,
    members) of 0 and 1; the expected loss (n,), in log odds."""
    amounts = [each.amounts for each in found]
    farthest: dict[str, float] = {}
    for each in amounts:
        for name, amount in each.items():
            farthest[name] = max(farthest.get(name, 0.0), amount)
    names = list(farthest)
    steps = np.array(
        [[each.get(name, 0.0) / farthest[name] for name in names] for each in amounts]
    )
    steps = steps.reshape(len(found), len(names))
    slopes = np.array([_QUANTISED if name in SCHEMES else _EXPECTED for name in names])
    who = list(dict.fromkeys(each.member for each in found))
    members = np.array([[float(each.member == name) for name in who] for each in found])
    return steps, members, steps @ slopes


def _kernel(steps: int, members: int, shared: float, own: float) -> Any:
    """Covariance of features (steps, members)."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    def alike(variance: float, by_steps: float, by_member: float) -> Any:
        return ConstantKernel(variance) * RBF([by_steps] * steps + [by_member] * members)

    return (
        alike(_MEMBERS**2, _FAR, _NEAR)
        + alike(shared**2, _LENGTH, _FAR)
        + alike(own**2, _LENGTH, _NEAR)
        + WhiteKernel(_NOISE**2)
    )
