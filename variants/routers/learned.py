"""Routers that learn how good each stage's answer would be, with any estimator that converts.

A router scores stages by the probability that their answer is right; with a price of time,
argmax(score - price * cost) maximises accuracy minus lambda times time (cost-sensitive
classification: Elkan, IJCAI 2001), and a sweep over the price is a sweep over lambda.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from trimtab.variants.routers.to_onnx import Column, Graph, router_file

Doubles = NDArray[np.float64]

_FOLDS = 5
#: Penalties that leave-one-out chooses from: hundreds of inputs bear no less.
_PENALTIES = tuple(float(10.0**power) for power in np.arange(0.0, 5.1, 0.5))
#: Directions of a wide vector that are kept before anything is learned.
_DIRECTIONS = 32


def _ridge() -> BaseEstimator:
    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))


def _logistic() -> BaseEstimator:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=1000))


def _forest() -> BaseEstimator:
    return RandomForestRegressor(12, min_samples_leaf=15, max_features=0.5, random_state=0)


#: Estimators that are tried, by name; all are kept from learning hundreds of inputs by heart.
ESTIMATORS: Mapping[str, Callable[[], BaseEstimator]] = {
    "ridge": _ridge,
    "logistic": _logistic,
    "forest": _forest,
}


def reduced(estimator: BaseEstimator, width: int, inputs: int) -> BaseEstimator:
    """An estimator behind the main directions of a vector of `width`, where that is wide."""
    count = min(_DIRECTIONS, inputs // 8)
    if width <= 2 * count:
        return estimator
    steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    return make_pipeline(StandardScaler(), PCA(count, random_state=0), *steps)


def fit_stages(estimator: BaseEstimator, features: Doubles, worth: Doubles) -> list[BaseEstimator]:
    """Fitted estimators that together say how good each stage is: one regressor of all, or a
    classifier a stage.

    `features` (inputs, n); `worth` (inputs, stages) is 1 where a stage's answer is right, 0 where
    it is wrong, or between: how likely it is right. A classifier learns such an input as both, by
    weights; one that takes none, as what is likelier.
    """
    if not is_classifier(estimator):
        return [clone(estimator).fit(features, worth[:, 0] if worth.shape[1] == 1 else worth)]
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not has_fit_parameter(last, "sample_weight"):
        return [clone(estimator).fit(features, _likelier(column)) for column in worth.T]
    step = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
    both, labels = np.concatenate([features, features]), np.repeat([1, 0], len(features))
    # A little of each class: one that never occurs could not be learned.
    shares = [np.clip(column, 1e-3, 1 - 1e-3) for column in worth.T]
    weights = [np.concatenate([share, 1 - share]) for share in shares]
    return [clone(estimator).fit(both, labels, **{f"{step}sample_weight": w}) for w in weights]


def _likelier(worth: Doubles) -> NDArray[np.bool_]:
    """Whether answers (inputs,) are rather right than wrong; some are either, as must be."""
    found: NDArray[np.bool_] = worth > 0.5
    if found.all():
        found[worth.argmin()] = False
    elif not found.any():
        found[worth.argmax()] = True
    return found


def predicted(models: Sequence[BaseEstimator], features: Doubles) -> Doubles:
    """Scores (inputs, stages) of what :func:`fit_stages` gives."""
    columns = [
        model.predict_proba(features)[:, 1:] if is_classifier(model) else model.predict(features)
        for model in models
    ]
    return np.concatenate([column.reshape(len(features), -1) for column in columns], axis=1)


def best_estimator(
    features: Doubles, worth: Doubles, names: Sequence[str] = tuple(ESTIMATORS)
) -> tuple[str, BaseEstimator, float]:
    """The estimator whose cross-validated scores are nearest to what stages are worth, less their
    mean (only differences between stages and inputs decide): its name, unfitted, and the share of
    the variance that it explains (Brier skill; 0 is no better than the mean)."""
    folds = list(KFold(_FOLDS, shuffle=True, random_state=0).split(features))
    spread = float(((worth - worth.mean(0)) ** 2).mean())
    tried = []
    for name in names:
        estimator = reduced(ESTIMATORS[name](), features.shape[1], len(features))
        said = np.zeros_like(worth)
        for learn, check in folds:
            models = fit_stages(estimator, features[learn], worth[learn])
            said[check] = predicted(models, features[check])
        error = float(((said - worth) ** 2).mean())
        tried.append((name, estimator, 1.0 - error / max(spread, 1e-12)))
    return max(tried, key=lambda one: one[2])


def learned_file(models: Sequence[BaseEstimator], features: Doubles) -> bytes:
    """The router of fitted `models` as an ONNX file, checked on the `features` that they learned
    from. Raises ModelError."""

    def finish(graph: Graph, columns: Sequence[Column]) -> str:
        return graph.joined(columns)

    return router_file(models, features, finish, lambda rows: predicted(models, rows))
