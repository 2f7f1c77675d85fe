"""Intervals of predicted costs, and what disturbed plans teach."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trimtab.search.costs.correction import Pair, learn
from trimtab.search.costs.prediction import PredictionErrors


@pytest.mark.parametrize(("spread", "plans"), [(0.03, 8), (0.10, 4), (0.13, 12), (0.3, 40)])
def test_intervals_hold_what_they_promise(spread: float, plans: int) -> None:
    """Each of 400 devices showed `plans` errors; the next one lies within the interval in 95 % of
    them, or more often while little is known."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        errors = np.exp(spread * generator.standard_normal(plans + 1))
        known = PredictionErrors.of(Pair(1, 5.0, 5.0 * error) for error in errors[:-1])
        covered += known.covers(Pair(2, 8.0, 8.0 * errors[-1]))
    assert covered >= 0.92 * 400


def test_intervals_narrow_with_what_is_seen() -> None:
    nothing, much = PredictionErrors(), PredictionErrors.of([Pair(1, 1.0, 1.02)] * 40)
    wide, narrow = nothing.interval(10.0), much.interval(10.0)
    assert wide[0] < narrow[0] < 10.0 < narrow[1] < wide[1]
    assert narrow[0] * narrow[1] == pytest.approx(100.0)
    assert much + nothing == much


def test_what_was_disturbed_teaches_no_spread() -> None:
    pairs = [Pair(1, 1.0, 1.01), Pair(1, 1.0, 3.0, disturbed=True)]
    assert PredictionErrors.of(pairs) == PredictionErrors.of(pairs[:1])


def test_disturbed_plans_teach_a_correction_only_where_few_others_do() -> None:
    steady = [Pair(1, 1.0, math.exp(0.1))] * 4
    disturbed = [Pair(1, 1.0, math.exp(0.6), disturbed=True)] * 4
    assert learn([*steady, *disturbed], {}) == learn(steady, {})
    found = learn([*steady[:2], *disturbed[:2]], {})
    assert found is not None and found.plans == 4
