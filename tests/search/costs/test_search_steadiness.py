"""Changes of speed within a measurement: found where there are some, and not in noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab.search.costs.stage import Doubles
from trimtab.search.costs.steadiness import Speeds, find_speeds, inference_ms

Draw = Callable[[np.random.Generator, int], Doubles]

#: Times of steady devices, from hardly any noise to more than any device has.
STEADY: dict[str, Draw] = {
    "normal": lambda g, n: 7 * np.exp(0.02 * g.standard_normal(n)),
    "wide": lambda g, n: 7 * np.exp(0.15 * g.standard_normal(n)),
    "uniform": lambda g, n: 7 * (1 + 0.3 * g.random(n)),
    "skewed": lambda g, n: 7 * (1 + 0.2 * g.exponential(size=n)),
    "heavy tails": lambda g, n: 7 * np.exp(0.03 * g.standard_t(3, size=n)),
}
MS = st.floats(0.05, 500.0)
NOISE = st.floats(0.001, 0.03)
SEEDS = st.integers(0, 2**32 - 1)


def noisy(times: Doubles, noise: float, seed: int) -> Doubles:
    generator = np.random.default_rng(seed)
    return times * np.exp(noise * generator.standard_normal(len(times)))


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("count", [32, 128])
def test_noise_is_flagged_hardly_ever(name: str, count: int) -> None:
    """Two tests with one false alarm in a hundred each: of 100 seeded series six is already more
    than once in a hundred such batches."""
    alarms = sum(
        not find_speeds([STEADY[name](np.random.default_rng(seed), count)]).steady
        for seed in range(100)
    )
    assert alarms <= 6


@given(MS, st.floats(1.12, 4.0), st.integers(10, 118), NOISE, SEEDS)
@examples(100)
def test_a_step_is_found_and_named(
    ms: float, ratio: float, at: int, noise: float, seed: int
) -> None:
    times = np.full(128, ms)
    times[at:] *= ratio
    found = find_speeds([noisy(times, noise, seed)])
    assert not found.steady and found.changes is not None and found.changes >= 1
    assert found.speeds[0].ms == pytest.approx(ms, rel=0.06)
    slower = sum(speed.share for speed in found.speeds if speed.ms > ms * (1 + ratio) / 2)
    assert slower == pytest.approx(1 - at / 128, abs=0.06)


@given(MS, st.floats(1.3, 4.0), st.integers(0, 112), st.integers(10, 16), NOISE, SEEDS)
@examples(100)
def test_a_burst_is_found(
    ms: float, ratio: float, at: int, length: int, noise: float, seed: int
) -> None:
    times = np.full(128, ms)
    times[at : at + length] *= ratio
    assert not find_speeds([noisy(times, noise, seed)]).steady


@given(MS, st.floats(1.3, 4.0), st.floats(0.25, 0.75), NOISE, SEEDS)
@examples(100)
def test_two_speeds_that_take_turns_are_found(
    ms: float, ratio: float, share: float, noise: float, seed: int
) -> None:
    slower = np.random.default_rng(seed).random(128) < share
    found = find_speeds([noisy(np.where(slower, ms * ratio, ms), noise, seed + 1)])
    assert len(found.speeds) >= 2
    if found.changes is None:
        assert [speed.ms for speed in found.speeds] == pytest.approx([ms, ms * ratio], rel=0.03)
        assert found.speeds[1].share == pytest.approx(slower.mean(), abs=0.03)


def test_single_times_that_move_the_mean_are_told() -> None:
    times = noisy(np.full(70, 0.25), 0.02, 0)
    times[[7, 33, 52]] = 8.0
    found = find_speeds([times], in_order=True)
    assert [speed.share for speed in found.speeds] == pytest.approx([67 / 70, 3 / 70])
    assert found.text == "two speeds: 0.25 and 8 ms, 4% of the time in the slower"


def test_what_the_text_says() -> None:
    steps = np.repeat([7.0, 10.6], [60, 40])
    found = find_speeds([noisy(steps, 0.01, 0)])
    assert found.text == (
        "two speeds: 7 and 10.6 ms, 40% of the time in the slower; it changed once"
    )
    three = np.repeat([7.0, 8.5, 10.6, 7.0], [40, 30, 30, 30])
    assert find_speeds([noisy(three, 0.01, 0)]).text == (
        "3 speeds, from 7 to 10.6 ms; it changed 3 times"
    )
    assert find_speeds([np.full(40, 7.0)]).text == ""


@pytest.mark.parametrize("ratio", [1.01, 1.03])
def test_what_does_not_matter_is_not_told(ratio: float) -> None:
    assert find_speeds([noisy(np.repeat([7.0, 7.0 * ratio], 64), 0.002, 0)]).steady


def test_a_change_of_one_stage_is_one_of_the_whole() -> None:
    steady, stepping = np.full(128, 7.0), np.repeat([7.0, 12.0], 16)
    found = find_speeds([noisy(steady, 0.02, 0), noisy(stepping, 0.02, 1)])
    assert [speed.ms for speed in found.speeds] == pytest.approx([14.0, 19.0], rel=0.02)


def test_too_few_times_tell_nothing() -> None:
    assert find_speeds([np.repeat([1.0, 9.0], 5)]) == Speeds(())
    assert find_speeds([]) == Speeds(())


def test_inferences_are_warm_first_and_cold_behind() -> None:
    samples = {
        "reference_ms": [9.0],
        "0_hot_inference_ms": [1.0],
        "0_beside_inference_ms": [2.0],
        "0_hot_resize_ms": [3.0],
        "1_beside_inference_ms": [4.0],
        "learn_ms": [5.0],
    }
    assert [times.tolist() for times in inference_ms(samples)] == [[1.0], [4.0]]
