"""Exact macro F1 of many rows at once, and its interval where classes are many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from sklearn import metrics as sk

from trimtab.search.estimates.class_counts import class_counts, count_interval
from trimtab.search.estimates.macro_f1 import f1_of_counts

Array = np.ndarray[Any, np.dtype[Any]]


def f1(labels: Array, answers: Array) -> float:
    seen = np.unique(labels)
    return float(sk.f1_score(labels, answers, labels=seen, average="macro", zero_division=0))


@examples(60)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 9), st.integers(1, 4))
def test_rows_of_macro_f1_are_scikit_learns(
    seed: int, count: int, classes: int, rows: int
) -> None:
    generator = np.random.default_rng(seed)
    answers = generator.integers(0, classes, (rows, count))
    labels = generator.integers(0, max(1, classes - 1), (rows, count))
    expected = [f1(*pair) for pair in zip(labels, answers, strict=True)]
    assert f1_of_counts(*class_counts(labels, answers)).tolist() == pytest.approx(expected)
    same = [f1(labels[0], row) for row in answers]
    assert f1_of_counts(*class_counts(labels[0], answers)).tolist() == pytest.approx(same)


@pytest.mark.parametrize("count", [500, 10_000])
def test_an_interval_of_many_classes_holds_the_figure(count: int) -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 1000, count)
    right = generator.uniform(size=count) < 0.7
    answers = np.where(right, labels, generator.integers(0, 1000, count))
    low, high = count_interval(f1_of_counts, labels, answers)
    assert low < f1(labels, answers) < high
