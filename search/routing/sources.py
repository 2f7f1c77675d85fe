"""What routers may look at, and how one is trained on that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.routing.design import TrainedRouter
from trimtab.variants.routers import (
    TINY_INPUT,
    Runner,
    TinyNetwork,
    best_estimator,
    fit_stages,
    learn_filters,
    learned_file,
)

Doubles = NDArray[np.float64]


class FeatureSource(ABC):
    """Features of one kind (trimtab_runtime.definitions.routers.FEATURE_KINDS) of every input of
    the workload."""

    @abstractmethod
    def learn(self, first: int, fit: Ints, worth: Doubles) -> TrainedRouter | None:
        """A router among stages of which option `first` is the first: from the rows `fit`, where
        the stages are `worth` (fit, stages). None where there is nothing to look at. Raises
        ModelError where what was learned does not convert."""


@dataclass(frozen=True, eq=False)
class VectorSource(FeatureSource):
    """Vectors `seen` (inputs, features), with `names` where these have some."""

    kind: str
    seen: Floats
    names: tuple[str, ...] = ()

    def learn(self, first: int, fit: Ints, worth: Doubles) -> TrainedRouter:
        own = self.seen[fit].astype(np.float64)
        name, estimator, _ = best_estimator(own, worth)
        made = learned_file(fit_stages(estimator, own, worth), own)
        return TrainedRouter(
            f"{self.kind} {name}", made, Runner(made)(self.seen), self.kind, self.names
        )


@dataclass(frozen=True, eq=False)
class StageSource(FeatureSource):
    """Vectors (inputs, features) that the first stage itself gives, by its option."""

    kind: str
    seen: Mapping[int, Floats]

    def learn(self, first: int, fit: Ints, worth: Doubles) -> TrainedRouter | None:
        if first not in self.seen:
            return None
        return VectorSource(self.kind, self.seen[first]).learn(first, fit, worth)


@dataclass(frozen=True, eq=False)
class TensorSource(FeatureSource):
    """Small images `seen` (inputs, ...), of which a tiny network makes features."""

    kind: str
    seen: Floats
    fit: Ints

    def learn(self, first: int, fit: Ints, worth: Doubles) -> TrainedRouter:
        network, features = self._network
        name, estimator, _ = best_estimator(features, worth)
        fitted = fit_stages(estimator, features, worth)
        made = network.router_file(fitted, self.seen[self.fit])
        scores = Runner(made)(self.seen)
        return TrainedRouter(f"tiny network {name}", made, scores, self.kind, (), TINY_INPUT)

    @cached_property
    def _network(self) -> tuple[TinyNetwork, Doubles]:
        """Of all groups, with its features (fit, n)."""
        own = self.seen[self.fit]
        network = learn_filters(own)
        return network, network.features(own).astype(np.float64)
