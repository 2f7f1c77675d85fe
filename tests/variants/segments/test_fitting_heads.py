"""Linear heads on vectors whose classes are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from trimtab.variants import Head, fit_heads
from trimtab_runtime.errors import ModelError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def blobs(
    count: int, width: int, classes: int, seed: int = 0, spread: float = 1.0
) -> tuple[Floats, Ints]:
    """Gaussian clouds about one centre per class, channels of very different scales and means."""
    centres = np.random.default_rng(99).normal(0, spread, (classes, width))
    scales = np.random.default_rng(98).uniform(0.001, 50, width)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    noise = rng.normal(0, 1, (count, width))
    return ((centres[labels] + noise + 3) * scales).astype(np.float32), labels


def log_loss(head: Head, vectors: Floats, labels: Ints) -> float:
    """As good as a temperature makes it: heads are calibrated by whoever uses them."""
    logits, rows = head.logits(vectors).astype(np.float64), np.arange(len(labels))
    temperatures = np.geomspace(0.3, 3, 60)
    scores = (log_softmax(logits / t, axis=1)[rows, labels].mean() for t in temperatures)
    return float(-max(scores))


def test_a_head_is_as_good_as_the_best_there_is() -> None:
    vectors, labels = blobs(4000, 16, 5, spread=0.5)
    head = fit_heads(vectors, labels, 5)
    fresh, truth = blobs(4000, 16, 5, seed=1, spread=0.5)
    centres = np.random.default_rng(99).normal(0, 0.5, (5, 16))
    scales = np.random.default_rng(98).uniform(0.001, 50, 16)
    seen = fresh / scales - 3
    best = log_softmax(seen @ centres.T - (centres**2).sum(1) / 2, axis=1)
    bound = float(-best[np.arange(len(truth)), truth].mean())
    assert log_loss(head, fresh, truth) < bound + 0.02
    accuracy = (head.logits(fresh).argmax(1) == truth).mean()
    assert accuracy > (best.argmax(1) == truth).mean() - 0.01


def test_classes_without_examples_never_win() -> None:
    vectors, labels = blobs(300, 32, 3)
    head = fit_heads(vectors, labels * 2 + 1, 9)
    assert head.weight.shape == (9, 32)
    logits = head.logits(vectors)
    absent = [0, 2, 4, 6, 7, 8]
    assert (head.weight[absent] == 0).all()
    lowest = logits[:, [1, 3, 5]].min()
    np.testing.assert_allclose(logits[:, absent], lowest - 20, rtol=1e-3)
    assert (logits.argmax(1) == labels * 2 + 1).mean() > 0.95


def test_many_classes_and_few_examples() -> None:
    labels = np.random.default_rng(0).choice(1000, 200, replace=False)
    vectors, codes = blobs(300, 96, 200)
    head = fit_heads(vectors, labels[codes], 1000)
    assert head.weight.shape == (1000, 96)
    fresh, truth = blobs(300, 96, 200, seed=1)
    known = np.isin(truth, codes)
    right = (head.logits(fresh).argmax(1) == labels[truth])[known]
    assert right.mean() > 0.8


def test_two_classes_and_constant_channels() -> None:
    vectors, labels = blobs(200, 8, 2)
    vectors[:, 3], vectors[:, 5] = 7.0, 0.0
    head = fit_heads(vectors, labels, 2)
    assert (head.weight[:, [3, 5]] == 0).all()
    assert (head.logits(vectors).argmax(1) == labels).mean() > 0.9


def test_a_class_with_one_example() -> None:
    vectors, labels = blobs(100, 8, 2)
    labels[labels == 1] = 0
    labels[0] = 1
    vectors[0] += 1000
    head = fit_heads(vectors, labels, 2)
    assert (head.logits(vectors).argmax(1) == labels).all()
    two = np.array([0, 1])
    assert (fit_heads(vectors[:2], two, 2).logits(vectors[:2]).argmax(1) == two).all()


def test_the_same_arguments_give_the_same_head() -> None:
    vectors, labels = blobs(200, 16, 4)
    one, two = (fit_heads(vectors, labels, 4, seed=3) for _ in range(2))
    assert one.weight.tobytes() == two.weight.tobytes()
    assert one.bias.tobytes() == two.bias.tobytes()


def test_wrong_examples_say_why() -> None:
    vectors, labels = blobs(20, 4, 2)
    with pytest.raises(ModelError, match="needs examples of two classes, got 1"):
        fit_heads(vectors, np.zeros(20, np.int64), 2)
    with pytest.raises(ModelError, match="needs examples of two classes, got 0"):
        fit_heads(vectors[:0], labels[:0], 2)
    with pytest.raises(ModelError, match=r"0 <= target < 1 must hold, got 0 to 1"):
        fit_heads(vectors, labels, 1)
    with pytest.raises(ModelError, match=r"got \(20, 4\) and \(19,\)"):
        fit_heads(vectors, labels[:19], 2)
    vectors[3, 1] = np.nan
    with pytest.raises(ModelError, match="NaN or infinity"):
        fit_heads(vectors, labels, 2)


def test_heads_are_checked() -> None:
    with pytest.raises(ModelError, match=r"got \(2, 3\) and \(3,\)"):
        Head(np.zeros((2, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(ModelError, match="finite float32, got float64"):
        Head(np.zeros((2, 3)), np.zeros(2, np.float32))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="bias must be finite"):
        Head(np.zeros((1, 3), np.float32), np.full(1, np.inf, np.float32))
