"""Which replacements are made together, and what they are predicted to lose."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np
import pytest

from trimtab.search.block_sets import (
    TOLERANCES,
    Combination,
    LossPredictor,
    Replacement,
    best_combinations,
    next_combination,
)


def invented(count: int, seed: int, slots: int | None = None) -> list[Replacement]:
    generator = np.random.default_rng(seed)
    return [
        Replacement(n % (slots or count), float(saved), float(error))
        for n, (saved, error) in enumerate(
            zip(generator.uniform(-0.1, 1, count), generator.uniform(0, 0.4, count), strict=True)
        )
    ]


def every_set(
    replacements: Sequence[Replacement], conflicts: Collection[tuple[int, int]]
) -> list[tuple[float, float]]:
    """(damage, saved) of all that can be made."""
    found = []
    for size in range(1, len(replacements) + 1):
        for chosen in itertools.combinations(range(len(replacements)), size):
            slots = [replacements[n].slot for n in chosen]
            if len(set(slots)) == size and not set(itertools.combinations(chosen, 2)) & set(
                conflicts
            ):
                made = [replacements[n] for n in chosen]
                found.append((sum(r.error for r in made), sum(r.saved_ms for r in made)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_front_is_nearly_that_of_all_sets(seed: int) -> None:
    replacements = invented(9, seed, slots=6)
    conflicts = {(0, 1), (1, 2), (4, 5)}
    front = best_combinations(replacements, conflicts, trials=600, seed=seed)
    every = every_set(replacements, conflicts)
    for combination in front:
        made = [replacements[n] for n in combination.chosen]
        assert combination.saved_ms == pytest.approx(sum(r.saved_ms for r in made))
        assert combination.damage == pytest.approx(sum(r.error for r in made))
        assert len({r.slot for r in made}) == len(made)
        assert not set(itertools.combinations(combination.chosen, 2)) & conflicts
        best = max(saved for damage, saved in every if damage <= combination.damage + 1e-9)
        assert combination.saved_ms >= 0.95 * best
    assert [c.damage for c in front] == sorted(c.damage for c in front)
    assert max(c.saved_ms for c in front) >= 0.98 * max(saved for _, saved in every)


def test_the_set_that_saves_most_is_found_among_many_that_overlap() -> None:
    """Runs of one to three of 27 blocks in a row, of which no two can share a block: nine runs of
    three save most, and one wrong step makes them impossible."""
    runs = [(first, size) for size in (1, 2, 3) for first in range(28 - size)]
    replacements = [Replacement(n, size - 0.9, 0.01 * size**2) for n, (_, size) in enumerate(runs)]
    spans = [set(range(first, first + size)) for first, size in runs]
    conflicts = {
        (a, b) for a, b in itertools.combinations(range(len(runs)), 2) if spans[a] & spans[b]
    }
    front = best_combinations(replacements, conflicts, trials=50, seed=0)
    assert front[-1].saved_ms == pytest.approx(9 * 2.1)
    assert sorted(runs[n] for n in front[-1].chosen) == [(first, 3) for first in range(0, 27, 3)]


def test_nothing_that_only_costs_is_replaced() -> None:
    slower = [Replacement(0, -0.2, 0.0), Replacement(1, -0.1, 0.1)]
    assert best_combinations(slower, set(), trials=50, seed=0) == []
    assert best_combinations([], set(), trials=10, seed=0) == []
    (only,) = best_combinations([*slower, Replacement(2, 0.3, 0.2)], set(), trials=50, seed=0)
    assert only.chosen == (2,)


def test_the_same_seed_gives_the_same_front() -> None:
    replacements = invented(14, 5)
    first, second = (best_combinations(replacements, {(0, 3)}, 200, 7) for _ in range(2))
    assert first == second


def test_the_predictor_learns_what_damage_costs() -> None:
    predictor = LossPredictor()
    assert predictor.held_out_error is None
    before, _ = predictor.predict(0.2)
    for damage in (0.1, 0.4, 0.2):
        predictor.tell(damage, 0.05 * damage)
    after, spread = predictor.predict(0.2)
    assert abs(after - 0.01) < abs(before - 0.01) / 4
    assert spread > 0
    assert predictor.predict(0.0)[0] == 0 and predictor.predict(1e9)[0] == 1
    assert abs(predictor.errors[-1]) < abs(predictor.errors[0]), "each told before it was learned"
    assert predictor.held_out_error == pytest.approx(np.mean(np.abs(predictor.errors)))


def test_what_to_build_next() -> None:
    front = [Combination((n,), saved_ms=float(n), damage=0.02 * n) for n in range(1, 30)]
    predictor, built = LossPredictor(), []
    for tolerance in TOLERANCES:
        found = next_combination(front, predictor, built)
        assert found is not None and found not in built
        assert predictor.predict(found.damage)[0] <= tolerance
        built.append(found)
    assert [c.saved_ms for c in built] == sorted(c.saved_ms for c in built)
    assert next_combination(front, predictor, built) is None
    # Where sets turn out to lose more than was thought, milder ones come.
    for combination in built:
        predictor.tell(combination.damage, 4 * predictor.predict(combination.damage)[0])
    milder = next_combination(front, predictor, built)
    assert milder is None or milder.saved_ms < built[-1].saved_ms
    assert next_combination([], predictor, []) is None
