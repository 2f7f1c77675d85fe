"""Ratios of plans that took turns, and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.search.estimates.paired_times import Known, PairedTimes, quiet_rounds

#: Milliseconds of two plans, the first of which is the baseline.
MS = np.array([12.0, 4.0])


def turns(
    start: float, noise: float = 0.0, seed: int = 0, sittings: int = 8, rounds: int = 2
) -> PairedTimes:
    """Two plans on a machine whose pace changes from round to round; a start of a process makes
    it faster or slower for good, by `start` (a log scale), and each answer has a `noise`."""
    draw = np.random.default_rng(seed)
    count = 10 * sittings * rounds
    sitting, number = np.arange(count) // (10 * rounds), np.arange(count) // 10
    pace = np.exp(draw.normal(0, 0.3, sittings * rounds))[number]
    started = np.exp(draw.normal(0, start, (2, sittings)))[:, sitting]
    times = MS[:, None] * pace * started * np.exp(draw.normal(0, noise, (2, count)))
    return PairedTimes(times, np.ones((2, count)), np.ones(2), sitting, number)


def test_what_a_round_meets_all_plans_meet() -> None:
    """The pace of the machine changes nothing in a ratio, and much in a mean."""
    times = turns(0.0)
    known = times.ratio(1, 0)
    assert known.value == pytest.approx(3.0)
    assert known.high == pytest.approx(known.low)
    mean = times.mean_ms(0)
    assert mean.low < mean.value * 0.95 and mean.high > mean.value * 1.05
    assert mean.value / times.mean_ms(1).value == pytest.approx(known.value)
    assert times.ratio(0, 0) == Known(1.0, 1.0, 1.0)


@pytest.mark.parametrize(("sittings", "start"), [(3, 0.05), (8, 0.05), (8, 0.0)])
def test_intervals_hold_what_they_promise(sittings: int, start: float) -> None:
    """The mean over starts, and what one more start of both gives; with few sittings too."""
    held, again = [], []
    for seed in range(300):
        times = turns(start, 0.02, seed, sittings)
        held.append(times.ratio(1, 0).holds(3.0))
        fresh = np.exp(np.random.default_rng(1000 + seed).normal(0, start, 2))
        again.append(times.ratio(1, 0, again=True).holds(3.0 * fresh[0] / fresh[1]))
    assert 0.91 <= np.mean(held) <= 0.99
    assert np.mean(again) >= 0.91


def test_rounds_of_one_start_do_not_tell_what_another_gives() -> None:
    """They scatter less than starts do: why there are sittings."""
    held = [turns(0.05, 0.02, seed, 1, 16).ratio(1, 0).holds(3.0) for seed in range(100)]
    assert np.mean(held) < 0.5


def test_harder_images_are_no_difference_between_sittings() -> None:
    """A cascade whose second sitting had the images that it hands on; half of them ran, and the
    figures speak of all."""
    sittings = np.repeat([0, 1], 4)
    expected = np.array([[1.0] * 8, [1.0] * 4 + [5.0] * 4])
    times = PairedTimes(2.0 * expected, expected, np.array([1.0, 2.0]), sittings, sittings)
    assert times.ratio(1, 0) == Known(0.5, pytest.approx(0.5), pytest.approx(0.5))
    assert times.mean_ms(1).value == pytest.approx(4.0), "6 ms for the images that ran"


def test_the_outermost_level_that_was_repeated_counts() -> None:
    times, one = np.array([[2.0, 2.2, 2.0, 2.2], [1.0, 1.0, 1.0, 1.1]]), np.zeros(4, np.int64)
    rounds = np.array([0, 0, 1, 1])

    def known(sittings: np.ndarray, rounds: np.ndarray) -> Known:
        return PairedTimes(times, np.ones_like(times), np.ones(2), sittings, rounds).ratio(1, 0)

    assert known(rounds, np.arange(4)) == known(one, rounds)
    assert known(one, one) == known(np.arange(4), one)
    with pytest.raises(ValueError, match="two answers of each plan are needed, got 1"):
        PairedTimes(times[:, :1], np.ones((2, 1)), np.ones(2), one[:1], one[:1])


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
