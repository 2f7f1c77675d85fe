"""What taps are equipped with: fitted on `fit` and calibrated on `tune`, for each precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from planner.cutting import Place
from search.early import Equipment, TapChoice, Tapped
from search.quality import Floats, Ints
from trimtab_runtime.memory import TapArrays
from variants import Head, TapPlace, fit_heads

#: Spread of a channel, relative to the largest of the tap, below which it says nothing: divided
#: by it, what the channel does on other inputs would drown all else.
_LEAST_SPREAD = 1e-6
#: Limits of log(temperature), as in routing: where all of tune is right, none would be small
#: enough. Scores of centres are small.
_OF_HEADS, _OF_CENTRES = (-3.0, 3.0), (-7.0, 3.0)


@dataclass(frozen=True)
class Fitted:
    """What is known of an option's taps for the search, and the heads to build."""

    tapped: Tapped
    heads: tuple[Head | None, ...]

    def places(self, taps: Sequence[TapChoice], published: bool) -> list[Place]:
        """Where to cut, with everything that a plan needs there."""
        used = self.tapped.published if published else self.tapped.fitted
        return [
            Place(
                self.tapped.names[tap],
                kinds,
                used.arrays[tap],
                self.heads[tap] if "heads" in kinds else None,
            )
            for tap, kinds in taps
        ]


def equip(
    taps: Sequence[TapPlace],
    features: Sequence[Floats],
    classes: int,
    taught: Ints,
    fit: Ints,
    tune: Ints,
    with_heads: bool,
) -> Fitted:
    """Heads, centres and scales of taps, fitted on the rows `fit` and calibrated on the rows
    `tune` (the network may know its training images too well).

    `features` are raw (inputs, channels * grid * grid) over the whole workload, `taught` (inputs,)
    the classes that teach.
    """
    fitted, published = _Side(classes, taught, fit, tune), _Side(classes, taught, fit, tune)
    heads: list[Head | None] = []
    logits: list[Floats] = []
    for tap, feature in zip(taps, features, strict=True):
        head, temperature = None, 1.0
        told = np.zeros((len(feature), 0), np.float32)
        if with_heads:
            head = fit_heads(feature[fit], taught[fit], classes)
            told = head.logits(feature)
            temperature = _temperature(told[tune], taught[tune], _OF_HEADS)
        heads.append(head)
        logits.append(told)
        vector = feature.reshape(len(feature), tap.channels, -1).mean(2, dtype=np.float32)
        exact = vector[fit].astype(np.float64)  # else a constant channel seems to vary
        mean = exact.mean(0).astype(np.float32)
        spread = exact.std(0).astype(np.float32)
        says = spread > _LEAST_SPREAD * spread.max()
        scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=says)
        fitted.add(vector, mean, scale, temperature)
        published.add(vector, np.zeros_like(mean), np.ones_like(mean), temperature)
    names = tuple(tap.name for tap in taps)
    tapped = Tapped(names, fitted.equipment, published.equipment, tuple(logits))
    return Fitted(tapped, tuple(heads))


class _Side:
    """Equipment of one kind, tap by tap: scores of centres add up over taps."""

    def __init__(self, classes: int, taught: Ints, fit: Ints, tune: Ints) -> None:
        self._classes, self._taught, self._fit, self._tune = classes, taught, fit, tune
        self._scores = np.zeros((len(tune), classes))
        self._arrays: list[TapArrays] = []
        self._vectors: list[Floats] = []

    def add(self, vector: Floats, mean: Floats, scale: Floats, temperature: float) -> None:
        """A further tap, whose raw vectors are (inputs, channels)."""
        fit, tune, taught = self._fit, self._tune, self._taught
        standard = ((vector - mean) * scale).astype(np.float32)
        centres = _centres(standard[fit], taught[fit], self._classes)
        self._scores = self._scores / 2 + _cosines(standard[tune], centres)
        temperatures = [temperature, _temperature(self._scores, taught[tune], _OF_CENTRES)]
        self._arrays.append(TapArrays(mean, scale, centres, np.array(temperatures, np.float32)))
        self._vectors.append(standard)

    @property
    def equipment(self) -> Equipment:
        return Equipment(tuple(self._arrays), tuple(self._vectors))


def _centres(vectors: Floats, targets: Ints, classes: int) -> Floats:
    """Mean vector of each class (classes, channels); zero where a class has no input."""
    sums = np.zeros((classes, vectors.shape[1]))
    np.add.at(sums, targets, vectors)
    count = np.bincount(targets, minlength=classes)[:, None]
    centres: Floats = (sums / np.maximum(count, 1)).astype(np.float32)
    return centres


def _cosines(vectors: Floats, centres: Floats) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(centres, axis=1)
    found: NDArray[np.float64] = (vectors @ centres.T) / np.maximum(lengths, 1e-12)
    return found


def _temperature(logits: NDArray[Any], targets: Ints, limits: tuple[float, float]) -> float:
    """The temperature of the least negative log-likelihood (Guo et al., ICML 2017)."""
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, targets].mean())

    best = minimize_scalar(loss, bounds=limits, method="bounded").x
    return float(f"{np.exp(best):.3g}")
