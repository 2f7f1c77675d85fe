from __future__ import annotations

from collections import Counter
from itertools import accumulate

import numpy as np

from trimtab.workloads.streams.shuffling import Dice


def test_the_same_draws_on_every_machine() -> None:
    dice = Dice("pinned")
    assert [dice.below(1000) for _ in range(6)] == [959, 511, 674, 6, 933, 345]
    assert [dice.normal() for _ in range(3)] == [
        -0.004784196154532612,
        0.8468027193522722,
        -1.344359119423664,
    ]
    assert dice.shuffled("abcdef") == list("dafceb")


def test_draws_are_even_and_independent_of_their_neighbours() -> None:
    dice = Dice("even")
    drawn = np.array([dice.below(10) for _ in range(20_000)])
    assert np.abs(np.bincount(drawn, minlength=10) - 2000).max() < 5 * 42.5
    pairs = np.bincount(drawn[:-1] * 10 + drawn[1:], minlength=100)
    assert np.abs(pairs - 200).max() < 5 * 14.1


def test_probabilities_and_weights() -> None:
    dice = Dice("weights")
    assert all(dice.happens(1.0) for _ in range(100))
    assert not any(dice.happens(0.0) for _ in range(100))
    assert abs(sum(dice.happens(0.25) for _ in range(10_000)) - 2500) < 5 * 43.3
    picked = Counter(dice.pick(list(accumulate([5, 0, 3, 2]))) for _ in range(10_000))
    assert sorted(picked) == [0, 2, 3]
    assert all(abs(picked[i] - 1000 * w) < 250 for i, w in [(0, 5), (2, 3), (3, 2)])


def test_normal_draws_look_normal() -> None:
    dice = Dice("normal")
    drawn = np.array([dice.normal() for _ in range(20_000)])
    assert abs(drawn.mean()) < 5 / np.sqrt(20_000)
    assert abs(drawn.std() - 1) < 0.025
    for deviations, share in [(1, 0.6827), (2, 0.9545), (3, 0.9973)]:
        assert abs((np.abs(drawn) < deviations).mean() - share) < 0.015


def test_every_order_has_its_chance() -> None:
    orders = Counter(tuple(Dice(f"{i}").shuffled(range(3))) for i in range(6000))
    assert len(orders) == 6
    assert max(abs(count - 1000) for count in orders.values()) < 5 * 29
