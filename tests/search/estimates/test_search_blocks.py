"""Intervals over blocks of dependent frames, in themselves and as targets and guard use them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from trimtab.search.estimates.class_counts import class_counts, count_interval
from trimtab.search.estimates.cluster_bootstrap import (
    block_count_interval,
    block_error,
    block_interval,
    design_effect,
    enough,
)
from trimtab.search.estimates.guard import CAUTION, EARLY_CAUTION, VETO, Guard
from trimtab.search.estimates.intervals import interval, wilson
from trimtab.search.estimates.macro_f1 import f1_of_counts
from trimtab.search.estimates.metrics import quality_metric
from trimtab.search.estimates.targets import Targets

Array = np.ndarray[Any, np.dtype[Any]]
NAMES = ("a", "b", "c", "d")


def drawn(seed: int, count: int = 400, skill: float = 2.0) -> tuple[Array, Array]:
    """Labels, and probabilities (count, 4)."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    logits = generator.normal(0, 1, (count, 4))
    logits[np.arange(count), labels] += skill
    return labels, special.softmax(logits, axis=1).astype(np.float32)


def found(*arguments: Any, **named: Any) -> tuple[float, float]:
    interval = block_interval(*arguments, **named)
    assert interval is not None
    return interval


# ---- design effect -----------------------------------------------------------------------------


def test_the_design_effect_is_one_where_every_frame_is_another_object() -> None:
    assert design_effect(np.array([5, 3, 9, 1])) == 1.0
    assert design_effect(np.repeat([4, 2, 8], 7)) == 7.0
    assert design_effect(np.zeros(20, np.int64)) == 20.0
    # Kish: n / n_eff with n_eff = 6^2 / (1 + 4 + 9).
    assert design_effect(np.array([0, 1, 1, 2, 2, 2])) == pytest.approx(6 / (36 / 14))


def test_the_design_effect_is_how_the_variance_grows_where_frames_of_an_object_are_alike() -> None:
    generator = np.random.default_rng(0)
    objects = np.repeat(np.arange(30), generator.integers(1, 40, 30))
    means = [generator.normal(size=30)[objects].mean() for _ in range(4000)]
    growth = np.var(means) * len(objects)
    assert growth == pytest.approx(design_effect(objects), rel=0.1)


# ---- intervals of means ------------------------------------------------------------------------


def test_of_frames_that_are_blocks_of_their_own_it_is_the_usual_one() -> None:
    values = np.random.default_rng(1).gamma(2, 1, 400).astype(np.float32)
    low, high = found(values, np.arange(400))
    half = 1.96 * float(values.std()) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    assert found(values, np.arange(400)) == (low, high)
    wider = found(values, np.arange(400), 0.99)
    assert wider[0] < low < high < wider[1]


def test_many_blocks_are_affordable_and_no_different() -> None:
    values = np.random.default_rng(2).random(3000) < 0.8
    low, high = found(values, np.arange(3000), share=True)
    usual = wilson(int(values.sum()), 3000)
    assert (low, high) == pytest.approx(usual, abs=0.1 * (usual[1] - usual[0]))


def test_repeating_every_frame_changes_nothing_though_it_would_without_blocks() -> None:
    values = (np.random.default_rng(3).random(100) < 0.7).astype(np.float32)
    once = found(values, np.arange(100))
    assert found(values.repeat(16), np.arange(100).repeat(16)) == pytest.approx(once)
    low, high = interval(values.repeat(16), share=True)
    assert high - low < 0.3 * (once[1] - once[0])


def test_neither_the_order_nor_the_names_of_blocks_matter() -> None:
    generator = np.random.default_rng(4)
    values, blocks = generator.random(200), generator.integers(0, 15, 200)
    order = generator.permutation(200)
    expected = found(values, blocks)
    assert found(values[order], blocks[order]) == pytest.approx(expected)
    assert found(values, 1000 + 3 * blocks) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "least"), [(6, 0.85), (12, 0.87), (40, 0.91), (120, 0.91)])
def test_intervals_of_dependent_frames_cover_what_they_promise(count: int, least: float) -> None:
    """Frames of a block are right with a probability of their own; its length is random too."""
    generator, runs, truth = np.random.default_rng(5), 200, 0.75
    held = naive = 0
    for _ in range(runs):
        sizes = generator.geometric(1 / 15, count)
        blocks = np.repeat(np.arange(count), sizes)
        chance = generator.beta(3 * truth, 3 * (1 - truth), count)
        values = (generator.random(len(blocks)) < chance[blocks]).astype(np.float32)
        low, high = found(values, blocks, share=True)
        held += low <= truth <= high
        low, high = interval(values, share=True)
        naive += low <= truth <= high
    assert least <= held / runs <= 0.99
    assert naive / runs < 0.75


def test_of_fewer_than_six_blocks_there_is_no_interval() -> None:
    generator = np.random.default_rng(12)
    values = generator.random(60)
    for count in (1, 2, 5):
        assert not enough(count)
        assert block_interval(values, np.arange(60) % count) is None
        drawn_so = (np.arange(60) % divisor for divisor in (2, 3, count))
        assert block_count_interval(f1_of_counts, *drawn_so) is None
    low, high = found(values, np.arange(60) % 6)
    assert low < values.mean() < high
    assert block_interval(values, np.arange(60) % 6, 0.99) is None
    assert block_interval(np.ones(50), np.zeros(50, np.int64), share=True) is None
    assert block_interval(np.ones(0), np.zeros(0, np.int64)) is None


@pytest.mark.parametrize("right", [0, 1])
def test_shares_that_are_all_alike_count_their_blocks(right: int) -> None:
    values, blocks = np.full(600, right, np.float32), np.arange(600) // 20
    assert found(values, blocks, share=True) == wilson(30 * right, 30)
    assert found(values, blocks) == (right, right)  # of other means: nothing is known of the rest


# ---- macro F1 ----------------------------------------------------------------------------------


def test_macro_f1_of_frames_that_are_blocks_of_their_own_has_the_usual_interval() -> None:
    labels, probabilities = drawn(6)
    answers = probabilities.argmax(1)
    usual = count_interval(f1_of_counts, labels, answers)
    own = block_count_interval(f1_of_counts, labels, answers, np.arange(400))
    assert own == pytest.approx(usual, abs=0.15 * (usual[1] - usual[0]))
    assert own == block_count_interval(f1_of_counts, labels, answers, np.arange(400))
    repeated = [array.repeat(9) for array in (labels, answers, np.arange(400))]
    assert block_count_interval(f1_of_counts, *repeated) == pytest.approx(own)


def test_macro_f1_of_dependent_frames_has_a_wider_interval() -> None:
    labels, probabilities = drawn(7, 40, 1.0)
    answers = probabilities.argmax(1)
    value = f1_of_counts(*class_counts(labels, answers[None]))[0]
    blocks = np.arange(40).repeat(15)
    own = block_count_interval(f1_of_counts, labels.repeat(15), answers.repeat(15), blocks)
    usual = count_interval(f1_of_counts, labels.repeat(15), answers.repeat(15))
    assert own is not None
    assert own[0] < usual[0] < value < usual[1] < own[1]


def test_macro_f1_of_blocks_of_any_size_is_that_of_the_rows_drawn() -> None:
    generator = np.random.default_rng(13)
    blocks = np.repeat(generator.permutation(300), generator.geometric(1 / 4, 300))
    labels = 7 * generator.integers(0, 5, 300)[blocks]
    answers = np.where(generator.random(len(blocks)) < 0.7, labels, 7)
    rows = [np.flatnonzero(blocks == block) for block in range(300)]
    resampled = []
    for _ in range(1000):
        drawn = np.concatenate([rows[block] for block in generator.integers(0, 300, 300)])
        resampled.append(f1_of_counts(*class_counts(labels[drawn], answers[drawn][None]))[0])
    low, high = np.quantile(resampled, [0.025, 0.975])
    shift = f1_of_counts(*class_counts(labels, answers[None]))[0] - np.mean(resampled)
    own = block_count_interval(f1_of_counts, labels, answers, blocks)
    assert own == pytest.approx((low + shift, high + shift), abs=0.1 * (high - low))


# ---- targets -----------------------------------------------------------------------------------

METRICS = ("top1", "balanced_accuracy", "macro_f1", "agreement", "recall[c]")


@pytest.mark.parametrize("metric", METRICS)
def test_targets_with_blocks_tell_the_same_with_another_interval(metric: str) -> None:
    labels, probabilities = drawn(8, 60)
    probabilities = probabilities.repeat(10, axis=0)
    labels, blocks = labels.repeat(10), np.arange(60).repeat(10)
    plain = Targets(labels, drawn(8, 60)[0].repeat(10), classes=NAMES)
    value, low, high = quality_metric(metric).told(plain, probabilities)
    told = quality_metric(metric).told(replace(plain, blocks=blocks), probabilities)
    assert told[0] == value
    assert told[1] < low <= value <= high < told[2]


def test_a_recall_resamples_the_blocks_that_show_the_class() -> None:
    labels, probabilities = drawn(9, 300, 1.0)
    blocks = np.arange(300) // 10
    targets = Targets(labels, None, classes=NAMES, blocks=blocks)
    own = labels == 2
    right = (probabilities.argmax(1) == 2)[own]
    value, *limits = quality_metric("recall[c]").told(targets, probabilities)
    assert value == pytest.approx(right.mean())
    assert tuple(limits) == block_interval(right, blocks[own], share=True)


def test_of_too_few_blocks_any_figure_may_be_true() -> None:
    labels, probabilities = drawn(10)
    targets = Targets(labels, None, classes=NAMES, blocks=np.zeros(400, np.int64))
    for metric in ("top1", "macro_f1", "recall[c]"):
        assert quality_metric(metric).told(targets, probabilities)[1:] == (0.0, 1.0)
    # Of one class there is but one object: the others say nothing of its recall.
    single = replace(targets, blocks=np.where(labels == 2, 0, np.arange(400)))
    assert quality_metric("recall[c]").told(single, probabilities)[1:] == (0.0, 1.0)
    assert quality_metric("recall[b]").told(single, probabilities)[1:] != (0.0, 1.0)


# ---- the guard ---------------------------------------------------------------------------------


def guards(repeats: float) -> tuple[Guard, Targets, Array, Array]:
    """A guard; its targets; what the baseline decides on, and a plan."""
    labels, base = drawn(11)
    _, soft = drawn(11, skill=3.0)
    plan = np.where((np.arange(400) % 3 == 0)[:, None], drawn(12)[1], base)
    targets = Targets(labels, labels, soft, NAMES)
    return Guard(targets, base, repeats), targets, base, plan


@pytest.mark.parametrize("metric", METRICS)
def test_repeats_widen_what_sweeps_take_off(metric: str) -> None:
    plain, _, _, plan = guards(1.0)
    wider = guards(6.25)[0]
    means = [np.array([m.mean(dtype=float)]) for m in plain.moments(metric, plan)]
    taken = [
        float((e.replayed - e.guarded)[0])
        for e in (g.estimate(metric, means) for g in (plain, wider))
    ]
    credit, gain = means[0][0], means[2][0]
    assert taken[0] != taken[1]
    cautious = credit - 2.5 * CAUTION * np.sqrt(means[1][0] - credit**2) / 20
    possible = gain + 2.5 * VETO * np.sqrt(means[3][0] - gain**2) / 20
    assert taken[1] == pytest.approx(gain - min(cautious, possible), abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_an_early_plan_is_judged_by_labels_and_independent_inputs(metric: str) -> None:
    guard, targets, base, plan = guards(1.0)
    around = replace(targets, around=base.argmax(1))
    judge = quality_metric(metric)
    gain = judge.values(around, plan).astype(float) - judge.values(around, base)
    replayed, guarded = guard.of(metric, plan)
    assert replayed == pytest.approx(quality_metric(metric).told(targets, plan)[0], abs=1e-6)
    taken = EARLY_CAUTION * gain.std(ddof=1) / 20
    assert replayed - guarded == pytest.approx(taken, rel=1e-3)
    value = quality_metric(metric).told(targets, base)[0]
    assert guard.of(metric, base) == pytest.approx((value, value), abs=1e-6)


@pytest.mark.parametrize("by", ["blocks", "objects"])
def test_an_early_plan_gains_nothing_from_frames_that_repeat(by: str) -> None:
    _, targets, base, plan = guards(1.0)
    expected = Guard(targets, base).of("top1", plan)
    same = np.arange(400).repeat(9)
    assert targets.labels is not None
    assert targets.soft is not None
    blocks, objects = (same, None) if by == "blocks" else (np.arange(3600), same)
    many = Targets(targets.labels.repeat(9), None, targets.soft.repeat(9, 0), NAMES, blocks=blocks)
    guard = Guard(many, base.repeat(9, 0), objects=objects)
    assert guard.of("top1", plan.repeat(9, 0)) == pytest.approx(expected, abs=1e-6)


def test_an_error_of_blocks_by_hand() -> None:
    # Sums of deviations from the mean 0.5: 1, -1, 0; three blocks of two frames.
    found = block_error(np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 1, 2, 2]))
    assert found == pytest.approx(np.sqrt(2 * 3 / 2) / 6)
    assert block_error(np.array([1.0, 0.0]), np.array([4, 4])) == np.inf


def test_inputs_do_not_repeat_less_than_once() -> None:
    for repeats in (0.5, np.nan):
        with pytest.raises(ValueError, match="repeats >= 1 must hold"):
            guards(repeats)


def test_the_interval_of_a_share_is_wilsons() -> None:
    ci = stats.binomtest(7, 9).proportion_ci(0.9, method="wilson")
    assert wilson(7, 9, 0.9) == (ci.low, ci.high)
