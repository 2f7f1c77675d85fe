"""What is called worse, and how often wrongly: on drawn figures."""

import numpy as np
import pytest

from trimtab.planner.gate.findings import Limits
from trimtab.planner.gate.judgement import SlowerTest, accuracy, memory, size, typical_ms
from trimtab.planner.gate.turns import LOOKS, SITTINGS

TEST = SlowerTest(Limits().slower, LOOKS)


def called_slower(ratio, spread, runs, seed):
    """How often a ratio of times is called slower, looked at as a check looks."""
    draw, found = np.random.default_rng(seed), 0
    for _ in range(runs):
        logs = []
        for _ in range(LOOKS):
            logs += list(np.log(ratio) + draw.normal(0, spread, SITTINGS))
            if TEST.decided(logs):
                break
        found += TEST.slower(logs)
    return found / runs


@pytest.mark.parametrize("spread", [0.005, 0.1])
def test_what_did_not_change_is_seldom_called_slower(spread):
    assert called_slower(1.0, spread, 500, 1) <= 0.01
    assert called_slower(1.03, spread, 500, 2) <= 0.02, "nor what is slower by what is allowed"


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_ten_per_cent_are_caught(spread):
    assert called_slower(1.1, spread, 300, 3) >= 0.95


def test_intervals_are_around_the_ratio():
    ratio, low, high = TEST.interval(list(np.log([1.1, 1.1, 1.1])))
    assert ratio == low == high == pytest.approx(1.1)
    ratio, low, high = TEST.interval(list(np.log([1.0, 1.1, 1.2])))
    assert low < ratio < high


def test_answers_that_were_held_up_do_not_count_and_other_ways_do():
    """A cascade whose second stage is asked twice as often takes longer, though no stage does."""
    often, seldom = (np.array([0] * few + [1] * (40 - few))[:, None] for few in (20, 30))
    times = {
        name: np.where(way[:, 0] == 1, 9.0, 3.0) for name, way in (("o", often), ("s", seldom))
    }
    assert typical_ms(times["s"], seldom) == pytest.approx(4.5)
    assert typical_ms(times["o"], often) == pytest.approx(6.0)
    held_up = times["s"].copy()
    held_up[::2] *= 5.0
    assert typical_ms(held_up, seldom) == pytest.approx(4.5)


def answers(images, lost, won, right=1500):
    """Right answers of two: `lost` of the first are wrong, `won` of its wrong ones right."""
    shipped = np.arange(images) < right
    new = shipped.copy()
    new[:lost] = False
    new[right : right + won] = True
    return shipped, new


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [
        (0, 0, "ok"),
        (20, 0, "worse"),
        (50, 30, "worse"),
        (4, 0, "ok"),
        (60, 60, "ok"),
        (0, 9, "ok"),
    ],
)
def test_a_point_of_accuracy_on_2000_images(lost, won, verdict):
    found = accuracy(*answers(2000, lost, won), np.arange(2000), Limits())
    assert found.verdict == verdict
    assert found.details["points"] == pytest.approx((won - lost) / 20)
    assert f"{lost} of 2000 images newly wrong, {won} newly right" in found.change


def test_what_may_be_lost_is_no_failure_and_one_object_is_one_image():
    told = answers(2000, 20, 0)
    assert accuracy(*told, np.arange(2000), Limits(points=1.5)).verdict == "ok"
    assert accuracy(*told, np.arange(2000) // 20, Limits()).verdict == "ok"


def test_memory_and_size():
    assert memory([100.0, 110.0], [120.0, 104.0], Limits()).verdict == "ok"
    assert memory([100.0], [106.0], Limits()).verdict == "worse"
    assert memory([None], [106.0], Limits()).verdict == "unknown"
    assert size(1.0, 1.01, Limits()).verdict == "ok"
    assert size(1.0, 1.03, Limits()).verdict == "worse"
