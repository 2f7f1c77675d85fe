"""Fronts against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from property_tests import examples

from trimtab.search.objectives.pareto import non_dominated, spread

Costs = np.ndarray[Any, np.dtype[np.float64]]

shapes = st.tuples(st.integers(0, 30), st.integers(1, 4))
few_values = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, np.inf])  # so that ties are frequent
costs_of = hnp.arrays(np.float64, shapes, elements=few_values | st.floats(-9, 9))


def brute_force(costs: Costs) -> list[bool]:
    def dominated(row: int) -> bool:
        others = [costs[other] for other in range(len(costs)) if other != row]
        better = any((o <= costs[row]).all() and (o < costs[row]).any() for o in others)
        return better or any((costs[before] == costs[row]).all() for before in range(row))

    return [not dominated(row) for row in range(len(costs))]


@examples(250)
@given(costs_of)
def test_the_front_is_what_brute_force_finds(costs: Costs) -> None:
    before = costs.copy()
    assert non_dominated(costs).tolist() == brute_force(costs)
    assert np.array_equal(costs, before)


def test_many_rows_in_two_and_three_objectives() -> None:
    generator = np.random.default_rng(0)
    flat = generator.integers(0, 60, (400, 2)).astype(np.float64)
    deep = generator.integers(0, 12, (400, 3)).astype(np.float64)
    for costs in (flat, deep):
        found = non_dominated(costs)
        assert found.tolist() == brute_force(costs)
        assert 1 < found.sum() < 400


@examples(150)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 25), st.integers(1, 3)),
        elements=few_values.filter(np.isfinite),
    ),
    st.integers(0, 12),
)
def test_spread_chooses_distinct_rows_and_the_best_of_each_objective(
    costs: Costs, count: int
) -> None:
    chosen = spread(costs, count)
    assert len(set(chosen)) == len(chosen) <= count
    distinct = len(np.unique(costs, axis=0))
    assert len(chosen) >= min(count, distinct)
    if count >= costs.shape[1]:
        assert (costs[chosen].min(axis=0) == costs.min(axis=0)).all()


def test_spread_takes_the_farthest_in_units_of_the_extent() -> None:
    along = np.array([0.0, 1.0, 2.0, 3.0, 5.0, 10.0])
    costs = np.stack([along, 1000 * (10 - along)], axis=1)
    assert spread(costs, 2) == [0, 5]
    assert spread(costs, 3) == [0, 5, 4]
    assert spread(costs, 4)[:3] == [0, 5, 4]
    assert spread(costs, 4)[3] in (2, 3)
    assert spread(costs, 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("columns", [2, 3])
def test_the_first_of_equal_rows_stays(columns: int) -> None:
    costs = np.array([[2.0] * columns, [1.0] * columns, [1.0] * columns])
    assert non_dominated(costs).tolist() == [False, True, False]
