"""Linear heads on pooled vectors: multinomial logistic regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """A linear head on a raw pooled vector: logits = weight @ vector + bias.

    `weight` is float32 (classes, channels), `bias` float32 (classes,). A head on a grid of means
    (see TapPlace) takes channels * grid * grid values, the cells of a channel side by side.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ModelError(
                "a head's weight is (classes, channels) and its bias (classes,), got "
                f"{self.weight.shape} and {self.bias.shape}"
            )
        for name, array in (("weight", self.weight), ("bias", self.bias)):
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ModelError(f"a head's {name} must be finite float32, got {array.dtype}")

    @property
    def classes(self) -> int:
        return int(self.weight.shape[0])

    @property
    def channels(self) -> int:
        return int(self.weight.shape[1])

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, classes) of vectors (n, channels)."""
        return np.asarray(vectors @ self.weight.T + self.bias, np.float32)


def fit_heads(vectors: NDArray[np.float32], targets: Ints, classes: int, seed: int = 0) -> Head:
    """A linear head for raw pooled vectors (n, channels) and classes 0..classes-1 of `targets`
    (n,).

    Multinomial logistic regression on standardised vectors, folded back. Where that is cheap its
    strength is chosen by the log loss of calibrated out-of-fold predictions. A class without
    examples gets no weights and a bias 20 below the lowest logit seen, so that it never wins and
    stays finite under any prior. The same arguments give the same head on the same machine.

    It is not calibrated: its examples are often those that the network below was trained on.

    Raises ModelError where shapes do not fit, values are not finite, or fewer than two classes
    have examples.
    """
    found, answers = _examples(vectors, targets, classes)
    present, codes = np.unique(answers, return_inverse=True)
    mean, scale = found.mean(axis=0), found.std(axis=0)
    # A channel that hardly varies says nothing, and dividing by its spread would blow up noise.
    scale = np.where(scale > 1e-6 * max(float(scale.max()), 1e-12), scale, np.inf)
    x = (found - mean) / scale
    penalties: Sequence[float] = _PENALTIES[1:2]
    if x.size * len(present) <= _CHEAP:
        outs = _out_of_fold(x, codes, len(present), _folds(codes, seed), _PENALTIES)
        penalties = _PENALTIES[: 1 + int(np.argmin([_calibrated_loss(*out) for out in outs]))]
    *_, (weight, bias) = _regressions(x, codes, len(present), penalties)
    return _folded(weight, bias, mean, scale, present, classes, found)


_PENALTIES = (3e-2, 1e-2, 1e-3, 1e-4)  # of half the squared weights an example, strong first
_CHEAP = 10_000_000  # examples x channels x classes up to which several penalties are tried
_FOLDS = 3
_ITERATIONS = 50
_BELOW = 20.0  # logits that a class without examples lies below the lowest one
_LIMITS = (-3.0, 3.0)  # of log(temperature): 1/20 to 20, as in routing


def _examples(vectors: NDArray[np.float32], targets: Ints, classes: int) -> tuple[Floats, Ints]:
    found, answers = np.asarray(vectors, np.float64), np.asarray(targets)
    if found.ndim != 2 or answers.shape != found.shape[:1]:
        raise ModelError(
            "a head is fitted on vectors (n, channels) and targets (n,), got "
            f"{found.shape} and {answers.shape}"
        )
    if not np.isfinite(found).all():
        raise ModelError("vectors to fit a head on hold NaN or infinity; look at the model's tap")
    if len(answers) and not 0 <= answers.min() <= answers.max() < classes:
        raise ModelError(
            f"0 <= target < {classes} must hold, got {answers.min()} to {answers.max()}"
        )
    if len(np.unique(answers)) < 2:
        raise ModelError(
            "a head needs examples of two classes, got "
            f"{len(np.unique(answers))}; give more inputs in `fit`"
        )
    return found, answers


def _folds(codes: Ints, seed: int) -> Sequence[tuple[Ints, Ints]]:
    """Indices (training, held out): every class spread over the folds as evenly as it goes."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(min(_FOLDS, len(codes)), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer examples than folds
        if np.bincount(codes).max() < splitter.n_splits:
            codes = np.zeros_like(codes)
        return list(splitter.split(codes[:, None], codes))


def _regressions(
    x: Floats, codes: Ints, classes: int, penalties: Sequence[float]
) -> Iterator[tuple[Floats, Floats]]:
    """Weights (classes, channels) and biases (classes,) per penalty, each fit starting from the
    one before. Classes not in `codes` get no weights, and a bias _BELOW the lowest logit."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(codes)
    regression = LogisticRegression(max_iter=_ITERATIONS, tol=1e-3, warm_start=True)
    for penalty in penalties:
        weight, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
        if len(present) > 1:
            regression.C = 1 / (penalty * len(x))
            with threadpool_limits(1), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # near enough by then
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                regression.fit(x, codes)
            coefficients, intercepts = regression.coef_, regression.intercept_
            if len(present) == 2:  # one score: minus and plus half of it are the two logits
                coefficients = np.array([[-0.5], [0.5]]) * coefficients
                intercepts = np.array([-0.5, 0.5]) * intercepts
            weight[present], bias[present] = coefficients, intercepts
        lowest = float((x @ weight[present].T + bias[present]).min())
        bias[np.setdiff1d(np.arange(classes), present)] = lowest - _BELOW
        yield weight, bias


def _out_of_fold(
    x: Floats,
    codes: Ints,
    classes: int,
    folds: Sequence[tuple[Ints, Ints]],
    penalties: Sequence[float],
) -> list[tuple[Floats, Ints]]:
    """Per penalty, logits (m, classes) of examples that the fit had not seen, and their classes.

    Examples whose class the fit had not seen at all say nothing of calibration and are left out,
    unless that is all of them.
    """
    logits = np.zeros((len(penalties), len(x), classes))
    known = np.zeros(len(x), bool)
    for training, held in folds:
        fits = _regressions(x[training], codes[training], classes, penalties)
        for index, (weight, bias) in enumerate(fits):
            logits[index, held] = x[held] @ weight.T + bias
        known[held] = np.isin(codes[held], codes[training])
    rows = known if known.any() else ~known
    return [(found[rows], codes[rows]) for found in logits]


def _calibrated_loss(logits: Floats, codes: Ints) -> float:
    """The least mean log loss (nats) that a temperature gives."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(codes))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, codes].mean())

    best: Any = minimize_scalar(loss, bounds=_LIMITS, method="bounded")
    return float(best.fun)


def _folded(
    weight: Floats,
    bias: Floats,
    mean: Floats,
    scale: Floats,
    present: Ints,
    classes: int,
    raw: Floats,
) -> Head:
    """The head for raw vectors and all classes."""
    full = np.zeros((classes, len(mean)))
    full[present] = weight / scale
    offsets = bias - full[present] @ mean
    lowest = float((raw @ full[present].T + offsets).min())
    biases = np.full(classes, lowest - _BELOW)
    biases[present] = offsets
    return Head(full.astype(np.float32), biases.astype(np.float32))
