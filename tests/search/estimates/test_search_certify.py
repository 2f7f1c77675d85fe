"""Certificates: known numbers, what they promise (by simulation), and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from scipy import special, stats

from trimtab.search.estimates.risk_control import (
    Certificate,
    Risk,
    certify,
    hoeffding_bentkus,
    losses_by_object,
)

Array = np.ndarray[Any, np.dtype[Any]]


def binary(wrong: int, count: int) -> Array:
    return np.arange(count) < wrong


def alone(losses: Array, risk: Risk | None = None) -> Certificate:
    (found,) = certify([losses], risk or Risk())
    return found


# ---- known numbers -----------------------------------------------------------------------------


def test_without_a_difference_the_bound_is_the_rule_of_three() -> None:
    found = alone(binary(0, 300), Risk(0.05, 0.95))
    assert found.bound == pytest.approx(3 / 300, rel=0.01)
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 300))
    assert found.least == pytest.approx(found.bound)
    assert (found.certified, found.observed, found.objects) == (True, 0.0, 300)


@pytest.mark.parametrize(("wrong", "count"), [(0, 40), (1, 10), (3, 240), (9, 10), (77, 500)])
@pytest.mark.parametrize("candidates", [1, 12])
def test_zeros_and_ones_have_clopper_and_pearsons_bound(
    wrong: int, count: int, candidates: int
) -> None:
    found = certify([binary(wrong, count)] * candidates, Risk(0.05, 0.9))
    error = 0.1 / candidates
    for own in found:
        assert own.bound == pytest.approx(stats.beta.isf(error, wrong + 1, count - wrong))
        assert stats.binom.cdf(wrong, count, own.bound) == pytest.approx(error)
        assert own.candidates == candidates


def test_the_p_value_of_hoeffding_and_bentkus() -> None:
    # 30 losses of 0.1 against 0.2: exp(-30 * KL(0.1, 0.2)) and e * P(Binomial(30, 0.2) <= 3).
    divergence = 0.1 * np.log(0.5) + 0.9 * np.log(0.9 / 0.8)
    expected = min(np.exp(-30 * divergence), np.e * stats.binom.cdf(3, 30, 0.2))
    assert hoeffding_bentkus(3.0, 30, 0.2) == pytest.approx(expected)
    assert hoeffding_bentkus(sum([0.1] * 30), 30, 0.2) == pytest.approx(expected)  # a hair off 3
    assert hoeffding_bentkus(3.0, 30, 0.1) == hoeffding_bentkus(3.0, 30, 0.05) == 1.0
    assert hoeffding_bentkus(0.0, 30, 0.2) == pytest.approx(0.8**30)


def test_the_bound_of_values_between_is_where_the_p_value_is_the_error() -> None:
    losses = np.random.default_rng(0).beta(0.3, 4.0, 120)
    for candidates in (1, 5):
        bound = certify([losses] * candidates, Risk())[0].bound
        assert losses.mean() < bound < 1.0
        level = hoeffding_bentkus(losses.sum(), 120, bound)
        assert level == pytest.approx(0.1 / candidates, rel=1e-4)


def test_values_between_without_a_loss_are_as_good_as_zeros() -> None:
    assert alone(np.zeros(60)).bound == pytest.approx(alone(binary(0, 60)).bound)
    # Beyond, zeros and ones that might have been otherwise are bounded more loosely.
    assert alone(binary(3, 60).astype(float)).bound > alone(binary(3, 60)).bound


def test_extremes() -> None:
    for losses in (np.ones(5, bool), np.ones(5), np.zeros(0), np.zeros(0, bool)):
        assert alone(losses).bound == 1.0
        assert not alone(losses).certified
    assert alone(np.zeros(0)).observed is None
    assert certify([], Risk()) == []


# ---- monotonicity ------------------------------------------------------------------------------

losses_in_thirds = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(
    lambda thirds: np.array(thirds) / 3
)


@examples(60)
@given(losses_in_thirds, st.data())
def test_more_loss_a_surer_wish_and_more_candidates_raise_the_bound(
    losses: Array, data: st.DataObject
) -> None:
    bound = alone(losses).bound
    worse = losses.copy()
    worse[data.draw(st.integers(0, len(losses) - 1))] = 1.0
    assert alone(worse).bound >= bound - 1e-8
    assert alone(losses, Risk(0.05, 0.99)).bound >= bound
    assert certify([losses] * 7, Risk())[0].bound >= bound
    assert alone(np.tile(losses, 2)).bound <= bound + 1e-8
    assert bound >= losses.mean()


def test_what_is_asked_decides_and_does_not_move_the_bound() -> None:
    found = [alone(binary(5, 200), Risk(loss)) for loss in (0.02, 0.045, 0.05, 0.2)]
    assert len({own.bound for own in found}) == 1
    assert [own.certified for own in found] == [False, False, True, True]


# ---- what is promised --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "between"])
@pytest.mark.parametrize(("count", "mean"), [(60, 0.02), (200, 0.05), (200, 0.3)])
def test_all_bounds_hold_together_as_often_as_promised(kind: str, count: int, mean: float) -> None:
    generator, runs, candidates = np.random.default_rng(1), 600, 4
    broken = 0
    for _ in range(runs):
        if kind == "binary":
            drawn = list(generator.random((candidates, count)) < mean)
        else:
            drawn = list(generator.binomial(3, mean, (candidates, count)) / 3)
        broken += any(own.bound < mean for own in certify(drawn, Risk(0.05, 0.9)))
    assert broken / runs <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / runs)
    if kind == "binary" and count == 200:
        assert broken / runs > 0.03  # exact, not merely safe


def test_no_candidate_is_certified_that_loses_more_than_asked() -> None:
    """Twenty candidates just above what is asked: uncorrected, some would nearly always pass."""
    generator, runs = np.random.default_rng(2), 300
    corrected = alone_passed = 0
    for _ in range(runs):
        drawn = list(generator.random((20, 240)) < 0.0501)
        corrected += any(own.certified for own in certify(drawn, Risk()))
        alone_passed += any(alone(losses).certified for losses in drawn)
    assert corrected / runs <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / runs)
    assert alone_passed / runs > 0.5


def test_frames_of_few_objects_certify_only_per_object() -> None:
    """Objects of 40 images each, answered all alike: frames would promise what does not hold."""
    generator, runs, mean = np.random.default_rng(3), 200, 0.1
    objects = np.repeat(np.arange(30), 40)
    broken = {"objects": 0, "frames": 0}
    for _ in range(runs):
        differs = (generator.random(30) < mean)[objects]
        broken["objects"] += alone(losses_by_object(differs, objects)).bound < mean
        broken["frames"] += alone(differs).bound < mean
    assert broken["objects"] / runs <= 0.1
    assert broken["frames"] / runs > 0.3


# ---- losses of objects -------------------------------------------------------------------------


def test_the_loss_of_an_object_is_the_mean_over_its_images() -> None:
    differs = np.array([1, 0, 0, 1, 1, 0, 0], bool)
    objects = np.array([7, 3, 7, 5, 5, 3, 7])
    found = losses_by_object(differs, objects)
    assert found == pytest.approx([0.0, 1.0, 1 / 3])  # objects 3, 5, 7
    assert found.dtype == np.float64
    assert alone(found).objects == 3


def test_with_one_image_an_object_losses_are_zeros_and_ones_by_design() -> None:
    differs = np.array([True, False, True, False])
    found = losses_by_object(differs, np.array([9, 2, 5, 4]))
    assert found.dtype == np.bool_
    assert found.tolist() == [False, False, True, True]
    # Two images of one object may differ by halves, though here they do not.
    assert losses_by_object(differs, np.array([9, 2, 9, 4])).dtype == np.float64
    assert len(losses_by_object(np.zeros(0, bool), np.zeros(0, np.int64))) == 0


def test_losses_by_object_are_those_of_the_full_network_without_labels() -> None:
    generator = np.random.default_rng(4)
    full = special.softmax(generator.normal(size=(50, 5)), 1).argmax(1)
    early = np.where(generator.random(50) < 0.2, 0, full)
    found = alone(losses_by_object(early != full, np.arange(50)))
    assert found.observed == pytest.approx(float((early != full).mean()))


# ---- what is said ------------------------------------------------------------------------------


def test_a_certificate_says_its_bound_rounded_up() -> None:
    found = certify([binary(1, 240)] * 12, Risk())[0]
    assert found.certified
    assert 0.026 < found.bound < 0.03
    percent = np.ceil(1000 * found.bound) / 10
    assert found.text() == (
        f"disagrees with the full network on at most {percent:.1f} % of inputs"
        " (confidence 90 %, n = 240, 12 candidates)"
    )
    single = alone(binary(0, 1000), Risk(0.05, 0.995))
    assert "at most 0.53 % of inputs (confidence 99.5 %, n = 1000, 1 candidate)" in single.text()


def test_where_the_sample_is_too_small_it_says_so() -> None:
    for wrong in (0, 3):
        found = certify([binary(wrong, 40)] * 12, Risk())[0]
        assert not found.certified
        assert found.text() == (
            "not certifiable with n = 40 (12 candidates):"
            " even without one difference the bound would be 11.3 %"
        )
    assert "n = 0 (1 candidate)" in alone(np.zeros(0)).text()


def test_where_there_are_too_many_differences_it_says_so() -> None:
    found = alone(binary(10, 240))
    assert found.text() == (
        f"not certified: 5.0 % asked, bound {np.ceil(1000 * found.bound) / 10:.1f} % at n = 240"
    )


@pytest.mark.parametrize("wrong", [{"loss": 0.0}, {"loss": 1.0}, {"confidence": 1.0}])
def test_a_risk_lies_between_none_and_all(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"0 < (loss|confidence) < 1 must hold, but got"):
        Risk(**wrong)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_losses_lie_between_none_and_all(value: float) -> None:
    with pytest.raises(ValueError, match="0 <= loss <= 1 must hold"):
        alone(np.array([0.2, value]))
