"""Metrics against scikit-learn, intervals against their formulas. Macro F1 and recalls have
test_search_class_metrics.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from scipy import special, stats
from sklearn import metrics as sk

from trimtab.search.estimates.intervals import interval
from trimtab.search.estimates.metrics import known_metrics, quality_metric
from trimtab.search.estimates.targets import Targets

Array = np.ndarray[Any, np.dtype[Any]]


def case(seed: int, count: int, classes: int, steps: int = 0) -> tuple[Array, Array]:
    """Labels, unevenly spread, and probabilities; with `steps` they tie."""
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, classes + 1)
    labels = generator.choice(classes, count, p=weights / weights.sum())
    logits = generator.normal(0, 1, (count, classes))
    logits[np.arange(count), labels] += generator.normal(0.7, 1, count)
    found = special.softmax(logits, axis=1)
    if steps:
        found = np.round(found * steps) / steps
    return labels, found.astype(np.float32)


cases = st.tuples(st.integers(0, 10**6), st.integers(1, 80), st.integers(7, 12))


@pytest.mark.parametrize("steps", [0, 8], ids=["distinct", "ties"])
@examples(40)
@given(cases)
def test_the_metrics_are_scikit_learns(steps: int, drawn: tuple[int, int, int]) -> None:
    labels, probabilities = case(*drawn, steps)
    targets = Targets(labels, None)
    answers, classes = probabilities.argmax(1), probabilities.shape[1]
    expected = {
        "top1": sk.accuracy_score(labels, answers),
        "balanced_accuracy": sk.recall_score(
            labels, answers, labels=np.unique(labels), average="macro", zero_division=0
        ),
        "macro_f1": sk.f1_score(
            labels, answers, labels=np.unique(labels), average="macro", zero_division=0
        ),
        # scikit-learn takes the last of equals, a device the first: turn the classes round.
        "top5": sk.top_k_accuracy_score(
            classes - 1 - labels, probabilities[:, ::-1], k=5, labels=np.arange(classes)
        ),
    }
    assert known_metrics(targets) == ("top1", "top5", "balanced_accuracy", "macro_f1")
    for metric, value in expected.items():
        per_input = quality_metric(metric).values(targets, probabilities)
        assert per_input.shape == (len(labels),)
        assert per_input.mean(dtype=np.float64) == pytest.approx(value, abs=1e-6)
        told, low, high = quality_metric(metric).told(targets, probabilities)
        assert told == pytest.approx(value, abs=1e-6)
        assert low - 1e-6 <= told <= high + 1e-6


def test_the_first_five_are_those_that_the_device_lists() -> None:
    labels, probabilities = case(5, 200, 9, steps=4)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    expected = (order == labels[:, None]).any(1)
    found = quality_metric("top5").values(Targets(labels, None), probabilities)
    assert found.astype(bool).tolist() == expected.tolist()
    assert 0 < expected.sum() < 200


def test_with_five_classes_or_fewer_the_label_is_always_among_the_first_five() -> None:
    for classes in (2, 4, 5):
        labels, probabilities = case(1, 20, classes)
        soft = Targets(labels, None, np.full((20, classes), 1 / classes, np.float32))
        assert quality_metric("top5").values(soft, probabilities).tolist() == [1.0] * 20
        assert quality_metric("top5").expected(soft, probabilities) == pytest.approx(1.0)


def test_agreement_is_with_the_reference() -> None:
    probabilities = np.eye(3, dtype=np.float32)
    targets = Targets(None, np.array([0, 2, 2]))
    assert known_metrics(targets) == ("agreement",)
    assert quality_metric("agreement").values(targets, probabilities).tolist() == [1, 0, 1]
    assert quality_metric("agreement").expected(targets, probabilities).tolist() == [1, 0, 1]
    both = Targets(np.array([0, 0, 0]), np.array([0, 2, 2]))
    assert known_metrics(both) == ("top1", "top5", "balanced_accuracy", "macro_f1", "agreement")


@examples(40)
@given(cases)
def test_certain_soft_labels_are_labels(drawn: tuple[int, int, int]) -> None:
    labels, probabilities = case(*drawn)
    certain = np.eye(probabilities.shape[1], dtype=np.float32)[labels]
    targets = Targets(labels, None, certain)
    for metric in known_metrics(targets):
        np.testing.assert_allclose(
            quality_metric(metric).expected(targets, probabilities),
            quality_metric(metric).values(targets, probabilities),
            rtol=1e-5,
        )


def test_without_soft_labels_the_expected_is_the_value() -> None:
    labels, probabilities = case(2, 30, 8)
    targets = Targets(labels, None)
    for metric in known_metrics(targets):
        found = quality_metric(metric).expected(targets, probabilities)
        assert np.array_equal(found, quality_metric(metric).values(targets, probabilities))


def test_soft_labels_give_the_mean_over_labels_drawn_from_them() -> None:
    generator = np.random.default_rng(0)
    _, soft = case(3, 300, 8)
    _, probabilities = case(4, 300, 8)
    targets = Targets(np.zeros(300, np.int64), None, soft)
    drawn: dict[str, list[float]] = {"top1": [], "top5": []}
    cumulated = soft.astype(np.float64).cumsum(1)
    for _ in range(300):
        labels = (generator.uniform(0, cumulated[:, -1:]) > cumulated).sum(1)
        for metric, values in drawn.items():
            found = quality_metric(metric).values(Targets(labels, None), probabilities)
            values.append(float(found.mean()))
    for metric, values in drawn.items():
        expected = float(quality_metric(metric).expected(targets, probabilities).mean())
        assert np.mean(values) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("metric", ["top1", "top5", "agreement"])
@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (3, 10), (431, 500), (1, 1)])
def test_shares_have_wilsons_interval(metric: str, right: int, count: int) -> None:
    values = np.array([1] * right + [0] * (count - right), np.float32)
    z, p = stats.norm.ppf(0.975), right / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2))
    low, high = interval(values, quality_metric(metric).share)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert low <= p + 1e-9
    assert high >= p - 1e-9


def test_other_means_have_the_bootstraps() -> None:
    values = np.random.default_rng(1).gamma(2, 1, 400).astype(np.float32)
    balanced = quality_metric("balanced_accuracy").share
    low, high = interval(values, balanced)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    assert interval(values, balanced) == (low, high)
    wider = interval(values, balanced, confidence=0.99)
    assert wider[0] < low < high < wider[1]


def test_a_bootstrap_of_equal_values_is_that_value() -> None:
    assert interval(np.full(20, 0.5, np.float32), share=False) == (0.5, 0.5)
