"""Ratios of plans that took turns, and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.search.estimates.paired_times import RESTART, Known, PairedTimes, quiet_rounds


def rounds(count: int, noise: float, seed: int = 0, images: int = 10) -> list[np.ndarray]:
    """Two plans, 12 and 4 ms, on a machine whose pace changes from round to round."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        pace = np.exp(draw.normal(0, 0.3))
        own = np.exp(draw.normal(0, noise, (2, 1)) + draw.normal(0, noise, (2, images)))
        found.append(pace * np.array([[12.0], [4.0]]) * own)
    return found


def test_what_a_round_meets_all_plans_meet() -> None:
    """The pace of the machine changes nothing in a ratio, and much in a mean."""
    times = PairedTimes(rounds(16, 0.0))
    known = times.ratio(1, 0)
    assert known.value == pytest.approx(3.0)
    assert known.high / known.value == pytest.approx(1 + RESTART, rel=1e-3)
    mean = times.mean_ms(0)
    assert mean.low < mean.value * 0.95 and mean.high > mean.value * 1.05
    assert mean.value / times.mean_ms(1).value == pytest.approx(known.value)
    assert times.ratio(0, 0) == Known(1.0, 1.0, 1.0)


@pytest.mark.parametrize("count", [6, 16])
def test_intervals_hold_what_they_promise(count: int) -> None:
    held = [
        PairedTimes(rounds(count, 0.05, seed), seed).ratio(1, 0).holds(3.0) for seed in range(200)
    ]
    assert np.mean(held) >= 0.9


def test_one_round_is_enough_for_a_ratio_and_none_for_nothing() -> None:
    assert PairedTimes(rounds(1, 0.0)).ratio(1, 0).value == pytest.approx(3.0)
    with pytest.raises(ValueError, match="at least one round"):
        PairedTimes([np.zeros((2, 0))])


def test_quotients_of_ratios_know_less_than_either() -> None:
    one, other = Known(2.0, 1.9, 2.1), Known(1.6, 1.5, 1.7)
    found = one.over(other)
    assert found.value == pytest.approx(1.25)
    assert found.high / found.low > other.high / other.low
    assert found.holds(1.25) and not found.holds(1.0)
    assert Known.of(one.plain()) == one


def test_undisturbed_rounds_are_used_where_there_are_enough() -> None:
    arrays = {
        "round_block": np.array([0, 1, 2, 3, 0]),
        "round_disturbed": np.array([1, 0, 0, 1, 0]),
    }
    assert quiet_rounds(arrays, 0.5) == [1, 2, 4]
    assert quiet_rounds(arrays, 0.9) == [0, 1, 2, 3, 4], "three of four blocks are too few"
