"""Fits heads and class centroids at each exit point, and calibrates them on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab.planner.cache.segments import TapEquipment
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.exits.design import Equipment, TapChoice, Tapped
from trimtab.variants import Head, TapPlace, fit_heads
from trimtab_runtime.memory.semantic import TapArrays

#: Spread of a channel, relative to the largest of the tap, below which it says nothing: divided
#: by it, what the channel does on other inputs would drown all else.
_LEAST_SPREAD = 1e-6
#: Limits of log(temperature), as in routing: where all of tune is right, none would be small
#: enough. Scores of centres are small.
_OF_HEADS, _OF_CENTRES = (-3.0, 3.0), (-7.0, 3.0)


@dataclass(frozen=True)
class Fitted:
    """What is known of an option's taps for the search, and the heads to build, on `grids` as
    TapPlace has them."""

    tapped: Tapped
    heads: tuple[Head | None, ...]
    grids: tuple[int, ...]

    def places(self, taps: Sequence[TapChoice], published: bool) -> list[TapEquipment]:
        """Where to cut, with everything that a plan needs there."""
        used = self.tapped.published if published else self.tapped.fitted
        return [
            TapEquipment(
                self.tapped.names[tap],
                kinds,
                used.arrays[tap],
                self.heads[tap] if "heads" in kinds else None,
                # A head alone reads the grid; nobody reads the mean of all of it.
                self.grids[tap] if kinds == ("heads",) else 1,
            )
            for tap, kinds in taps
        ]


@dataclass(frozen=True)
class TrainingTargets:
    """What taps are fitted on: raw vectors (images, channels * grid * grid) at each, and the
    classes (images,) that teach."""

    features: Sequence[Floats]
    classes: Ints


@dataclass(frozen=True)
class Calibration:
    """What they are calibrated on: `rows` of the workload's inputs, and the classes (rows,)."""

    rows: Ints
    classes: Ints


def fit_tap_classifiers(
    taps: Sequence[TapPlace],
    features: Sequence[Floats],
    fit: TrainingTargets,
    tune: Calibration,
    classes: int,
    with_heads: bool,
) -> Fitted:
    """Heads, centres and scales of taps, fitted on `fit` and calibrated on `tune` (the network
    may know its training images too well); and what they make of the raw `features` (inputs,
    channels * grid * grid) of the whole workload."""
    fitted, published = (_TapClassifiers(fit.classes, tune, classes) for _ in range(2))
    heads: list[Head | None] = []
    logits: list[Floats] = []
    for tap, feature, to_fit in zip(taps, features, fit.features, strict=True):
        head, temperature = None, 1.0
        told = np.zeros((len(feature), 0), np.float32)
        if with_heads:
            head = fit_heads(to_fit, fit.classes, classes)
            told = head.logits(feature)
            temperature = _temperature(told[tune.rows], tune.classes, _OF_HEADS)
        heads.append(head)
        logits.append(told)
        vectors, own = (
            part.reshape(len(part), tap.channels, -1).mean(2, dtype=np.float32)
            for part in (feature, to_fit)
        )
        mean, scale = _standards(own)
        fitted.add(vectors, own, mean, scale, temperature)
        published.add(vectors, own, np.zeros_like(mean), np.ones_like(mean), temperature)
    names = tuple(tap.name for tap in taps)
    tapped = Tapped(names, fitted.equipment, published.equipment, tuple(logits))
    return Fitted(tapped, tuple(heads), tuple(tap.grid for tap in taps))


def _standards(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean, and what makes the spread 1 (0 where a channel says nothing), (channels,) each."""
    exact = vectors.astype(np.float64)  # else a constant channel seems to vary
    spread = exact.std(0).astype(np.float32)
    says = spread > _LEAST_SPREAD * spread.max()
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=says)
    return exact.mean(0).astype(np.float32), scale


class _TapClassifiers:
    """Equipment of one kind, tap by tap: scores of centres add up over taps."""

    def __init__(self, taught: Ints, tune: Calibration, classes: int) -> None:
        self._taught, self._tune = taught, tune
        self._members = np.bincount(taught, minlength=classes).astype(np.float32)
        self._scores = np.zeros((len(tune.rows), classes))
        self._arrays: list[TapArrays] = []
        self._vectors: list[Floats] = []

    def add(
        self, vector: Floats, to_fit: Floats, mean: Floats, scale: Floats, temperature: float
    ) -> None:
        """A further tap, with raw vectors (inputs, channels) and those to fit on."""
        standard, own = (((part - mean) * scale).astype(np.float32) for part in (vector, to_fit))
        centres = _centres(own, self._taught, self._members)
        self._scores = self._scores / 2 + _cosines(standard[self._tune.rows], centres)
        of_centres = _temperature(self._scores, self._tune.classes, _OF_CENTRES)
        temperatures = np.array([temperature, of_centres], np.float32)
        self._arrays.append(TapArrays(mean, scale, centres, self._members, temperatures))
        self._vectors.append(standard)

    @property
    def equipment(self) -> Equipment:
        return Equipment(tuple(self._arrays), tuple(self._vectors))


def _centres(vectors: Floats, targets: Ints, members: Floats) -> Floats:
    """Mean vector of each class (classes, channels); zero where a class has no input."""
    sums = np.zeros((len(members), vectors.shape[1]))
    np.add.at(sums, targets, vectors)
    centres: Floats = (sums / np.maximum(members, 1)[:, None]).astype(np.float32)
    return centres


def _cosines(vectors: Floats, centres: Floats) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(centres, axis=1)
    found: NDArray[np.float64] = (vectors @ centres.T) / np.maximum(lengths, 1e-12)
    return found


def _temperature(logits: NDArray[Any], targets: Ints, limits: tuple[float, float]) -> float:
    """The temperature of the least negative log-likelihood (Guo et al., ICML 2017)."""
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        said = scipy.special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-said[rows, targets].mean())

    best = scipy.optimize.minimize_scalar(loss, bounds=limits, method="bounded").x
    return float(f"{np.exp(best):.3g}")
