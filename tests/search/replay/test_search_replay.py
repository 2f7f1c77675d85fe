"""Replays against a loop over inputs, and sweeps against replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from scipy import special

from trimtab.search.estimates.metrics import known_metrics, quality_metric
from trimtab.search.estimates.targets import Targets
from trimtab.search.plans.threshold_sweep import BINS, Decision, Sweep, edges, sweep
from trimtab.search.replay.cascade import replay
from trimtab_runtime.plans.routing import combine, decide

Floats = np.ndarray[Any, np.dtype[np.float32]]
RULES = ("last", "mean")


def answers_of(
    seed: int, count: int, stages: int, classes: int = 6, steps: int = 0
) -> list[Floats]:
    """Probabilities (count, classes) a stage, the later the sharper. With `steps` they are
    multiples of 1/steps, so that confidences tie."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(0, 1, (count, classes))
    found = []
    for stage in range(stages):
        logits = shared * (stage + 1) + generator.normal(0, 1, (count, classes))
        values = special.softmax(logits, axis=1)
        if steps:
            values = np.round(values * steps) / steps
        found.append(values.astype(np.float32))
    return found


def targets_of(seed: int, count: int, classes: int = 6) -> Targets:
    generator = np.random.default_rng(seed + 1000)
    return Targets(
        labels=generator.integers(0, classes, count),
        reference=generator.integers(0, classes, count),
        around=generator.integers(0, classes, count),
    )


def by_hand(
    probabilities: Sequence[Floats], rule: str, thresholds: Sequence[float]
) -> list[tuple[int, int, float]]:
    """(answer, stage, confidence) an input, one input after the other."""
    found = []
    for row in range(len(probabilities[0])):
        seen: list[Any] = []
        for stage, all_rows in enumerate(probabilities):
            seen.append(all_rows[row].astype(np.float64))
            mean = np.mean(seen, axis=0) if rule == "mean" else seen[-1]
            last = stage == len(probabilities) - 1
            if last or mean.max() >= thresholds[stage]:
                found.append((int(mean.argmax()), stage, float(mean.max())))
                break
    return found


@pytest.mark.parametrize("rule", RULES)
@examples(60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 60),
    thresholds=st.lists(st.floats(-0.1, 1.1), max_size=2),
)
def test_a_replay_is_a_loop_over_inputs(
    rule: str, seed: int, count: int, thresholds: list[float]
) -> None:
    probabilities = answers_of(seed, count, len(thresholds) + 1)
    found = replay(probabilities, rule, thresholds)
    expected = by_hand(probabilities, rule, thresholds)
    assert found.answer.tolist() == [answer for answer, _, _ in expected]
    assert found.stage.tolist() == [stage for _, stage, _ in expected]
    np.testing.assert_allclose(found.confidence, [c for _, _, c in expected], atol=1e-6)
    assert np.array_equal(found.decided.argmax(1), found.answer)
    stages = len(probabilities)
    shares = [sum(stage >= s for _, stage, _ in expected) / count for s in range(stages)]
    assert found.reach(stages).tolist() == pytest.approx(shares)


def test_a_confidence_equal_to_its_threshold_is_enough() -> None:
    first = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    second = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    assert replay([first, second], "last", [0.75]).stage.tolist() == [0, 1]
    assert replay([first, second], "last", [np.nextafter(0.75, 1)]).stage.tolist() == [1, 1]


def swept(probabilities: Sequence[Floats], rule: str, targets: Targets, bins: int = BINS) -> Sweep:
    total, stages = None, []
    for number, found in enumerate(probabilities):
        total = combine(total, found, number, rule)
        values = [
            quality_metric(metric).values(targets, total) for metric in known_metrics(targets)
        ]
        stages.append(Decision(decide(total)[1], values))
    return sweep(stages, bins)


@pytest.mark.parametrize("steps", [0, 12], ids=["distinct", "ties"])
@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("rule", RULES)
@examples(15)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 80), bins=st.integers(1, 12))
def test_every_point_of_a_sweep_is_what_its_replay_says(
    rule: str, stages: int, steps: int, seed: int, count: int, bins: int
) -> None:
    probabilities = answers_of(seed, count, stages, steps=steps)
    targets = targets_of(seed, count)
    metrics = ("top1", "top5", "balanced_accuracy", "macro_f1", "agreement")
    assert known_metrics(targets) == metrics
    found = swept(probabilities, rule, targets, bins)
    points = len(found.thresholds)
    assert found.thresholds.shape == (points, stages - 1)
    assert found.reach.shape == (points, stages)
    for point in np.random.default_rng(seed).permutation(points)[:25]:
        played = replay(probabilities, rule, found.thresholds[point].tolist())
        assert found.reach[point].tolist() == played.reach(stages).tolist()
        for metric, means in zip(metrics, found.means, strict=True):
            assert means.shape == (points,)
            exact = quality_metric(metric).values(targets, played.decided).mean(dtype=np.float64)
            assert means[point] == pytest.approx(float(exact), abs=1e-5)


def test_two_stages_are_swept_at_every_place_where_something_changes() -> None:
    """Any threshold at all gives the figures of one of the points, or of a stage alone."""
    probabilities, targets = answers_of(3, 70, 2), targets_of(3, 70)
    found = swept(probabilities, "mean", targets)
    assert len(found.thresholds) == 69
    known = {
        (reach[1], round(top1, 9)) for reach, top1 in zip(found.reach, found.means[0], strict=True)
    }
    for threshold in np.random.default_rng(0).uniform(0, 1, 300):
        played = replay(probabilities, "mean", [threshold])
        share = float(played.reach(2)[1])
        if 0 < share < 1:
            top1 = float(
                quality_metric("top1").values(targets, played.decided).mean(dtype=np.float64)
            )
            assert (share, round(top1, 9)) in known


def test_three_stages_are_swept_in_full_where_there_are_bins_enough() -> None:
    probabilities, targets = answers_of(4, 30, 3), targets_of(4, 30)
    found = swept(probabilities, "last", targets)
    assert len(found.thresholds) == 29 * 29
    assert len(np.unique(found.thresholds, axis=0)) == 29 * 29
    many = swept(answers_of(4, 300, 3), "last", targets_of(4, 300), bins=5)
    assert len(many.thresholds) == 25


def test_equal_confidences_leave_nothing_to_sweep() -> None:
    same = np.tile(np.array([[0.75, 0.25]], np.float32), (9, 1))
    targets = Targets(np.zeros(9, np.int64), None)
    assert len(swept([same, same], "last", targets).thresholds) == 0
    assert len(swept([same, same, same], "mean", targets).thresholds) == 0
    assert swept([same], "last", targets).means[0].tolist() == [1.0]


confidences = st.lists(st.sampled_from([0.25, 0.5, 0.75]) | st.floats(0, 1, width=32), min_size=1)


@examples(150)
@given(confidences, st.none() | st.integers(1, 10))
def test_edges_lie_between_confidences(values: list[float], limit: int | None) -> None:
    confidence = np.array(values, np.float32).astype(np.float64)
    found, distinct = edges(confidence, limit), np.unique(confidence)
    assert (np.diff(found) > 0).all()
    between = [((distinct < edge).sum(), (distinct > edge).sum()) for edge in found]
    assert all(low and high and low + high == len(distinct) for low, high in between)
    if limit is None or len(distinct) - 1 <= limit:
        assert len(found) == len(distinct) - 1
    else:
        assert 1 <= len(found) <= limit


def test_few_edges_split_the_inputs_evenly() -> None:
    confidence = np.sort(np.random.default_rng(1).beta(5, 1, 1000))
    shares = np.searchsorted(confidence, edges(confidence, 10)) / 1000
    np.testing.assert_allclose(shares, np.arange(10) / 10 + 0.05, atol=0.002)
