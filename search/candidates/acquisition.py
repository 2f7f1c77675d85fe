"""What to measure next: the candidate with the largest expected hypervolume improvement.

The improvement that a candidate brings is the volume that it dominates and the front does not,
above a reference point. Its expectation under independent predictions is the integral, over the
points that the front does not dominate, of the probability that the candidate dominates the point
(Emmerich et al., 2006; Yang et al., 2019): here a mean over Sobol points, for any number of
objectives. The space is finite, so it is computed for every candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trimtab.search.predictors.base import LEAST, Doubles, Prediction, Predictor
from trimtab.search.predictors.cost import CostPredictor
from trimtab.search.predictors.description import Description
from trimtab.search.predictors.quality import QualityPredictor
from trimtab_runtime.metrics import find_metric

_POINTS = 11  # log2 of their number
#: By how much worse than the worst baseline a candidate may still be worth something.
SLACK = 0.05
#: Standard deviations by which predictions may be surpassed.
_BEST = 2.0


def predictor_for(metric: str) -> Predictor:
    """The predictor that fits a metric."""
    cost = find_metric(metric).kind == "cost"
    return CostPredictor(metric) if cost else QualityPredictor(metric)


def reference_point(metrics: Sequence[str], values: Doubles) -> Doubles:
    """The worst of the baselines' `values` (n, objectives) in each objective, and some slack."""
    best = np.array([find_metric(metric).maximise for metric in metrics])
    worst = np.where(best, values.min(axis=0), values.max(axis=0))
    found: Doubles = worst * np.where(best, 1 - SLACK, 1 + SLACK)
    return found


def expected_improvement(
    predictions: Sequence[Prediction], front: Doubles, reference: Doubles, seed: int = 0
) -> Doubles:
    """(n,): hypervolume that candidates are expected to add to that of a `front` (m, objectives)
    above a `reference` point (objectives,), all in the metrics' units."""
    from scipy.stats import qmc  # a second of imports

    signs = np.array([-1.0 if find_metric(p.metric).maximise else 1.0 for p in predictions])
    hopes = [p.quantile(-s * _BEST) for p, s in zip(predictions, signs, strict=True)]
    best = np.array([(s * hope).min() for s, hope in zip(signs, hopes, strict=True)])
    costs, worst = signs * front, signs * reference
    best = np.minimum(best, costs.min(axis=0))
    extent = worst - best
    if (extent <= 0).any():
        return np.zeros(len(predictions[0].mean))
    points = best + extent * qmc.Sobol(len(signs), rng=seed).random_base2(_POINTS)
    open_points = points[~(costs[:, None] <= points).all(axis=2).any(axis=0)]
    chance = np.ones((len(predictions[0].mean), len(open_points)))
    for number, (found, sign) in enumerate(zip(predictions, signs, strict=True)):
        at = found.below(sign * open_points[:, number])
        chance *= at if sign > 0 else 1 - at
    volume: Doubles = chance.sum(axis=1) * extent.prod() / len(points)
    return volume


class Advisor:
    """Knows what candidates are, and proposes the most promising of those not measured.

    `metrics` are the objectives in order; `describe` tells what is known of a candidate (by key)
    now. `earlier` are measurements of earlier jobs on the same device, each with what costs it
    had (by metric).
    """

    def __init__(
        self,
        metrics: Sequence[str],
        describe: Callable[[str], Description],
        earlier: Sequence[tuple[Description, Mapping[str, float]]] = (),
        seed: int = 0,
    ) -> None:
        self._seed = seed
        self.metrics, self._describe, self._earlier = list(metrics), describe, list(earlier)
        self._predictors = [predictor_for(metric) for metric in metrics]

    def predict(
        self, known: Mapping[str, Sequence[float]], wanted: Sequence[str]
    ) -> list[Prediction]:
        """One prediction an objective of the `wanted` candidates; `known` are the values of those
        measured."""
        keys = sorted(known)  # so that the order of measuring changes no bit
        about = [self._describe(key) for key in wanted]
        found = []
        for number, predictor in enumerate(self._predictors):
            before = [pair for pair in self._earlier if predictor.metric in pair[1]]
            told = [each for each, _ in before] + [self._describe(key) for key in keys]
            values = [costs[predictor.metric] for _, costs in before]
            values += [known[key][number] for key in keys]
            found.append(predictor.predict(told, np.array(values), about))
        return found

    def ready(self, known: Mapping[str, Sequence[float]]) -> bool:
        """Whether enough is known to predict from."""
        return len(known) >= LEAST

    def choose(
        self,
        known: Mapping[str, Sequence[float]],
        unknown: Sequence[str],
        baselines: Sequence[str],
    ) -> tuple[str, list[float]]:
        """The most promising of the `unknown` candidates, and what is predicted for it (medians,
        one an objective)."""
        values = np.array([known[key] for key in sorted(known)])
        first = np.array([known[key] for key in baselines if key in known] or values)
        predictions = self.predict(known, unknown)
        gain = expected_improvement(
            predictions, values, reference_point(self.metrics, first), self._seed
        )
        best = int(gain.argmax())
        return unknown[best], [float(found.median[best]) for found in predictions]
