"""How measurements follow the reference work, and what they are multiplied by for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab.search.costs.pace import (
    CommonPace,
    Followed,
    followed,
    pace_ms,
    reference_kind,
    visit_followed,
)
from trimtab.search.costs.stage import Doubles, Visit

ROUNDS = 64
PER_ROUND = 4


def visit(times: Doubles, parallel: Doubles, threads: int = 2) -> Visit:
    samples = {
        "reference_ms": [1.5] * ROUNDS,
        "parallel_ms": parallel.tolist(),
        "0_hot_inference_ms": times.tolist(),
    }
    return Visit({"reference_threads": float(threads)}, samples)


def drifting(coefficient: float, noise: float, seed: int = 0) -> Visit:
    """Times of 7 ms that follow a reference of 2 ms, which slows down by a half and back."""
    generator = np.random.default_rng(seed)
    slower = np.interp(np.arange(ROUNDS), [0, ROUNDS / 2, ROUNDS], [0.0, np.log(1.5), 0.0])
    jitter = noise * generator.standard_normal(ROUNDS * PER_ROUND)
    times = 7 * np.exp(coefficient * np.repeat(slower, PER_ROUND) + jitter)
    return visit(times, 2 * np.exp(slower))


@pytest.mark.parametrize("coefficient", [0.3, 0.7, 1.0])
def test_times_are_moved_as_far_as_they_followed(coefficient: float) -> None:
    slow = drifting(coefficient, 0.01)
    found = visit_followed(slow)
    assert found.coefficient == pytest.approx(coefficient, abs=0.03)
    assert found.explained > 0.9
    (factor,) = CommonPace({"2 threads": 2.0}).factors([slow])
    moved = np.mean(slow.samples["0_hot_inference_ms"]) * factor
    assert moved == pytest.approx(7.0, rel=0.03)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
@examples(100)
def test_a_reference_that_explains_nothing_moves_hardly_anything(
    seed: int, wobble: float, noise: float
) -> None:
    generator = np.random.default_rng(seed)
    unrelated = visit(
        7 * np.exp(noise * generator.standard_normal(ROUNDS * PER_ROUND)),
        2 * np.exp(wobble * generator.standard_normal(ROUNDS)),
    )
    (factor,) = CommonPace({"2 threads": 2.0}).factors([unrelated])
    # Dividing would add the error of the reference; the means themselves have that of the times.
    assert abs(np.log(factor)) <= max(0.02, noise / 4)


def test_a_reference_that_is_steady_moves_nothing() -> None:
    stepping = visit(np.repeat([7.0, 10.6], ROUNDS * PER_ROUND // 2), np.full(ROUNDS, 1.5))
    assert visit_followed(stepping) == Followed()
    assert CommonPace({"2 threads": 2.0}).factors([stepping]) == [1.0]


def test_what_makes_the_one_slower_makes_the_other_no_faster() -> None:
    assert visit_followed(drifting(-0.5, 0.01)) == Followed()


def test_nothing_is_moved_to_a_pace_that_it_never_saw() -> None:
    slow = drifting(1.0, 0.0)
    seen = [CommonPace({"2 threads": ms}).factors([slow])[0] for ms in (1.9, 0.1, 3.1, 99.0)]
    assert seen[0] == seen[1] < 1 < seen[2] == seen[3]


def test_few_rounds_tell_nothing() -> None:
    assert followed(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == Followed()


def test_paces_are_compared_within_a_kind() -> None:
    one, two = drifting(1.0, 0.0), drifting(1.0, 0.0)
    one.values["reference_threads"] = 1.0  # type: ignore[index]  # a dict, made above
    before = Visit({}, {"reference_ms": [4.0] * 9, "0_hot_inference_ms": [8.0] * 9})
    assert [reference_kind(each) for each in (one, two, before)] == [
        "1 threads",
        "2 threads",
        "plain",
    ]
    pace = CommonPace.of([two, before])
    assert pace.ms == {
        "2 threads": pytest.approx(pace_ms(two.samples["parallel_ms"])),
        "plain": 4.0,
    }
    assert pace.factors([one]) == [1.0]


def test_measurements_of_before_are_read_as_they_were() -> None:
    before = Visit({}, {"reference_ms": [4.0] * 9, "0_hot_inference_ms": [8.0] * 9})
    assert visit_followed(before) == Followed(1.0)
    assert CommonPace({"plain": 2.0}).factors([before]) == [0.5]
