"""Macro F1 and the recall of single classes: alone, linearised, guarded and composed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.class_counts import count_interval
from trimtab.search.estimates.guard import CAUTION, VETO, Guard, consensus
from trimtab.search.estimates.macro_f1 import f1_of_counts
from trimtab.search.estimates.metrics import can_tell, quality_metric
from trimtab.search.estimates.targets import Targets
from trimtab.search.objectives.constraints import Constraint, feasible
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.cascades import compose, front
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.plans.problem import Problem
from trimtab.search.replay.cascade import replay
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions, Stage

Array = np.ndarray[Any, np.dtype[Any]]
NAMES = ("a", "good one", "c[0]", "d", "e", "never seen")
SHARES = (0.4, 0.3, 0.15, 0.1, 0.05)
RECALLS = tuple(f"recall[{name}]" for name in NAMES[:5])


def drawn(generator: np.random.Generator, count: int) -> Array:
    """Labels; the last class never occurs, though it may be answered. All others do."""
    labels = generator.choice(5, count, p=SHARES)
    labels[:5] = range(5)
    return labels


def variant(labels: Array, skill: float, generator: np.random.Generator) -> Array:
    """Probabilities that are right about as often as they say."""
    logits = generator.standard_normal((len(labels), len(NAMES)))
    logits[np.arange(len(labels)), labels] += skill
    return special.softmax(skill * logits, axis=1).astype(np.float32)


def sure(answers: Array) -> Array:
    """Probabilities that say just these answers."""
    return np.eye(len(NAMES), dtype=np.float32)[answers]


def f1(labels: Array, answers: Array) -> float:
    seen = np.unique(labels)
    return float(sk.f1_score(labels, answers, labels=seen, average="macro", zero_division=0))


def recall(labels: Array, answers: Array, index: int) -> float:
    return float(sk.recall_score(labels, answers, labels=[index], average=None)[0])


def test_the_recall_of_each_class_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    labels = drawn(generator, 300)
    probabilities = variant(labels, 1.5, generator)
    targets = Targets(labels, None, classes=NAMES)
    for index, metric in enumerate(RECALLS):
        expected = recall(labels, probabilities.argmax(1), index)
        assert 0 < expected < 1
        values = quality_metric(metric).values(targets, probabilities)
        assert values.mean(dtype=np.float64) == pytest.approx(expected, abs=1e-6)
        told, low, high = quality_metric(metric).told(targets, probabilities)
        assert told == pytest.approx(expected, abs=1e-6)
        count = int((labels == index).sum())
        wilson = stats.binomtest(round(expected * count), count).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((wilson.low, wilson.high))


def test_what_targets_know() -> None:
    labels = np.array([0, 1, 1])
    targets = Targets(labels, None, classes=NAMES)
    assert can_tell(targets, "macro_f1")
    assert can_tell(targets, "recall[good one]")
    assert not can_tell(targets, "recall[d]")  # no input of it
    assert not can_tell(targets, "recall[good]")  # no such class
    assert not can_tell(targets, "agreement")
    assert not can_tell(Targets(None, labels, classes=NAMES), "recall[a]")
    assert not can_tell(Targets(None, labels), "macro_f1")
    assert not can_tell(Targets(labels, None), "recall[a]")


def test_certain_soft_labels_are_labels() -> None:
    generator = np.random.default_rng(1)
    labels = drawn(generator, 200)
    found, around = variant(labels, 1.5, generator), variant(labels, 1.0, generator).argmax(1)
    targets = Targets(labels, None, sure(labels), NAMES)
    for tried in (targets, replace(targets, around=around)):
        for metric in ("macro_f1", *RECALLS):
            judge = quality_metric(metric)
            expected, values = judge.expected(tried, found), judge.values(tried, found)
            np.testing.assert_allclose(expected, values, rtol=1e-5, atol=1e-6)


def test_soft_labels_give_about_the_mean_over_labels_drawn_from_them() -> None:
    generator = np.random.default_rng(2)
    labels = drawn(generator, 600)
    soft, found = variant(labels, 2.0, generator), variant(labels, 1.5, generator)
    targets = Targets(labels, None, soft, NAMES)
    metrics = ("macro_f1", *RECALLS)
    values: dict[str, list[float]] = {metric: [] for metric in metrics}
    for _ in range(200):
        guessed = (generator.uniform(0, 1, (600, 1)) > soft.cumsum(1)[:, :-1]).sum(1)
        for metric in metrics:
            told = quality_metric(metric).values(Targets(guessed, None, classes=NAMES), found)
            values[metric].append(float(told.mean(dtype=np.float64)))
    for metric in metrics:
        expected = float(quality_metric(metric).expected(targets, found).mean(dtype=np.float64))
        assert np.mean(values[metric]) == pytest.approx(expected, abs=0.015)


def test_macro_f1_is_exact_at_the_baseline_and_of_first_order_around_it() -> None:
    generator = np.random.default_rng(3)
    once = drawn(generator, 200)
    answered = variant(once, 1.5, generator).argmax(1)
    labels, around = np.tile(once, 32), np.tile(answered, 32)
    targets = Targets(labels, None, classes=NAMES, around=around)

    def linear(answers: Array) -> float:
        return float(
            quality_metric("macro_f1").values(targets, sure(answers)).mean(dtype=np.float64)
        )

    base = f1(labels, around)
    assert linear(around) == pytest.approx(base, abs=1e-6)
    errors = []
    for copies in (1, 2, 4):  # in so many copies of the inputs all is right
        answers = np.concatenate([labels[: 200 * copies], around[200 * copies :]])
        change = f1(labels, answers) - base
        errors.append(abs(linear(answers) - base - change))
        assert 1e-5 < errors[-1] < 0.15 * change
    # What is left grows with the square of the change.
    assert errors[2] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[0] == pytest.approx(4, rel=0.15)


def test_intervals_of_macro_f1() -> None:
    generator = np.random.default_rng(4)
    labels = drawn(generator, 3000)
    answers = np.where(generator.uniform(size=3000) < 0.8, labels, generator.integers(0, 6, 3000))
    value, (low, high) = f1(labels, answers), count_interval(f1_of_counts, labels, answers)
    assert count_interval(f1_of_counts, labels, answers) == (low, high)
    assert low < value < high
    again = [f1(labels[rows], answers[rows]) for rows in generator.integers(0, 3000, (200, 3000))]
    assert high - low == pytest.approx(3.92 * np.std(again), rel=0.2)
    wider = count_interval(f1_of_counts, labels, answers, 0.99)
    assert wider[0] < low < high < wider[1]
    assert count_interval(f1_of_counts, labels, labels) == (1.0, 1.0)
    assert count_interval(f1_of_counts, np.array([0]), np.array([1])) == (0.0, 0.0)


def test_intervals_of_macro_f1_cover_what_they_promise() -> None:
    generator = np.random.default_rng(6)
    everything = drawn(generator, 200_000)
    answers = variant(everything, 1.5, generator).argmax(1)
    truth, held = f1(everything, answers), 0
    for _ in range(200):
        rows = generator.integers(0, len(everything), 400)
        low, high = count_interval(f1_of_counts, everything[rows], answers[rows])
        held += low <= truth <= high
    assert 0.89 <= held / 200 <= 0.99


def macro_recall(labels: Array, answers: Array) -> float:
    return float(sk.recall_score(labels, answers, labels=np.unique(labels), average="macro"))


def balanced(labels: Array, answers: Array, blocks: Array | None = None) -> tuple[float, ...]:
    targets = Targets(labels, None, classes=NAMES, blocks=blocks)
    return quality_metric("balanced_accuracy").told(targets, sure(answers))


def test_intervals_of_balanced_accuracy_stay_within_0_and_1() -> None:
    labels = np.array([0] * 396 + [1] * 4)
    nearly = labels.copy()
    nearly[0] = 1
    for answers in (labels, nearly, np.zeros(400, np.int64), 1 - labels):
        value, low, high = balanced(labels, answers)
        assert 0.0 <= low <= value <= high <= 1.0
        assert value == pytest.approx(macro_recall(labels, answers))
        assert high - low > 0.1  # four images of a class are few, whatever was answered
        value, low, high = balanced(labels, answers, np.arange(400) // 2)
        assert 0.0 <= low <= value <= high <= 1.0


def test_the_interval_of_balanced_accuracy_is_wilsons_for_a_single_class() -> None:
    answers = np.array([0] * 18 + [1] * 4)
    told = balanced(np.zeros(22, np.int64), answers)
    wilson = stats.binomtest(18, 22).proportion_ci(method="wilson")
    assert told == pytest.approx((18 / 22, wilson.low, wilson.high))
    everything = stats.binomtest(22, 22).proportion_ci(method="wilson")
    told = balanced(np.zeros(22, np.int64), np.zeros(22, np.int64))
    assert told == pytest.approx((1.0, everything.low, 1.0))


def test_intervals_of_balanced_accuracy_cover_what_they_promise() -> None:
    generator = np.random.default_rng(8)
    everything = drawn(generator, 200_000)
    answers = variant(everything, 1.5, generator).argmax(1)
    truth, held = macro_recall(everything, answers), 0
    for _ in range(200):
        rows = generator.integers(0, len(everything), 400)
        _, low, high = balanced(everything[rows], answers[rows])
        held += low <= truth <= high
    assert 0.89 <= held / 200 <= 0.99


# ---- the guard, and composing ----------------------------------------------------------------


def option(name: str, probabilities: Array, milliseconds: float) -> StageOption:
    runtime = RuntimeOptions("onnxruntime")
    samples = {
        f"{context}_{part}": np.full(64, milliseconds if part == "inference_ms" else 0.0)
        for context in ("hot", "beside")
        for part in ("resize_ms", "tensor_ms", "inference_ms")
    }
    cost = StageCost(InputFormat((8, 8)), runtime, {"load_ms": 1.0}, samples, 1.0)
    return StageOption(name, Stage(name * 8, runtime), cost, probabilities)


class Case:
    """Four variants on 700 inputs, of which 300 are `tune`."""

    def __init__(self, seed: int = 7) -> None:
        generator = np.random.default_rng(seed)
        self.all_labels = drawn(generator, 700)
        self.all_labels[100:105] = range(5)
        self.tune = np.arange(100, 400)
        self.labels = self.all_labels[self.tune]
        self.variants = [variant(self.all_labels, s, generator) for s in (1.0, 1.5, 1.9, 2.0)]
        timed = zip("abcd", self.variants, (1.0, 2.5, 5.0, 8.0), strict=True)
        self.options = [option(*each) for each in timed]
        soft = consensus(self.variants, np.arange(400), self.all_labels[:400])[self.tune]
        self.targets = Targets(self.labels, None, soft, NAMES)
        self.guard = Guard(self.targets, self.variants[3][self.tune])

    def problem(self, metrics: list[str], objectives: list[str]) -> Problem:
        wanted = [Objective(metric) for metric in objectives]
        return Problem(self.options, self.tune, self.guard, metrics, wanted)

    def answers(self, plan: ComposedPlan) -> Array:
        stages = [self.variants[i][self.tune] for i in plan.options]
        return replay(stages, plan.rule, plan.thresholds).answer

    def exact(self, metric: str, plan: ComposedPlan) -> float:
        if metric == "macro_f1":
            return f1(self.labels, self.answers(plan))
        return recall(self.labels, self.answers(plan), RECALLS.index(metric))


@pytest.mark.parametrize("affordable", [4000, 10], ids=["enumerated", "sampled"])
@pytest.mark.parametrize("metric", ["macro_f1", *RECALLS])
def test_composed_figures_are_scikit_learns_of_the_replay(metric: str, affordable: int) -> None:
    case = Case()
    plans = compose(case.problem([metric], [metric, "latency_mean_ms"]), affordable=affordable)
    assert {len(plan.options) for plan in plans} >= {1, 2}
    picked = np.random.default_rng(0).permutation(len(plans))[:60]
    assert len({plans[index].replayed[metric] for index in picked}) > 5
    for index in picked:
        expected = case.exact(metric, plans[index])
        assert plans[index].replayed[metric] == pytest.approx(expected, abs=1e-6)


def test_the_guard_of_macro_f1_takes_as_much_off_the_exact_figure_as_off_the_linear_one() -> None:
    case = Case()
    plans = compose(case.problem(["macro_f1"], ["macro_f1", "latency_mean_ms"]))
    base = case.variants[3][case.tune]
    around, judge = replace(case.targets, around=base.argmax(1)), quality_metric("macro_f1")
    linear_errors = []
    for index in np.random.default_rng(1).permutation(len(plans))[:40]:
        plan = plans[index]
        stages = [case.variants[i][case.tune] for i in plan.options]
        decided = replay(stages, plan.rule, plan.thresholds).decided
        credit, gain = (
            (told(around, decided) - told(around, base)).astype(float)
            for told in (judge.expected, judge.values)
        )
        cautious = credit.mean() - CAUTION * credit.std() / np.sqrt(300)
        possible = gain.mean() + VETO * gain.std() / np.sqrt(300)
        taken = gain.mean() - min(cautious, possible)
        exact = case.exact("macro_f1", plan)
        assert plan.guarded["macro_f1"] == pytest.approx(exact - taken, abs=1e-4)
        linear_errors.append(abs(f1(case.labels, base.argmax(1)) + gain.mean() - exact))
    assert max(linear_errors) > 1e-3  # the linear figure alone would not do


def test_the_baseline_is_estimated_as_itself() -> None:
    case = Case()
    plans = compose(case.problem(["macro_f1", RECALLS[4]], ["macro_f1", "latency_mean_ms"]))
    baseline = next(plan for plan in plans if plan.options == (3,))
    for metric in ("macro_f1", RECALLS[4]):
        assert baseline.guarded[metric] == baseline.replayed[metric]
        assert baseline.replayed[metric] == pytest.approx(case.exact(metric, baseline), abs=1e-6)


def test_the_front_of_a_recall_is_another_than_that_of_accuracy() -> None:
    case = Case()
    metrics = ["top1", RECALLS[4]]
    plans = compose(case.problem(metrics, ["top1", "latency_mean_ms"]))
    fronts = [
        front(plans, [Objective(metric), Objective("latency_mean_ms")]) for metric in metrics
    ]
    best = [max(plan.guarded[RECALLS[4]] for plan in found) for found in fronts]
    assert best[1] == max(plan.guarded[RECALLS[4]] for plan in plans)
    assert {id(plan) for plan in fronts[0]} != {id(plan) for plan in fronts[1]}


def test_constraints_on_class_metrics_hold_for_what_is_guarded() -> None:
    case = Case()
    metrics = ["top1", "macro_f1", RECALLS[2]]
    plans = compose(case.problem(metrics, ["top1", "latency_mean_ms"]))
    baseline = next(plan for plan in plans if plan.options == (3,)).replayed
    rules = [
        Constraint.parse("macro_f1 >= baseline - 0.03"),
        Constraint.parse("recall[c[0]] >= 0.95 * baseline"),
    ]
    met = [plan for plan in plans if feasible(rules, plan.values, baseline) == "yes"]
    assert 0 < len(met) < len(plans)
    assert any(len(plan.options) > 1 for plan in met)
    for plan in met:
        assert plan.guarded["macro_f1"] >= baseline["macro_f1"] - 0.03
        assert plan.guarded[RECALLS[2]] >= 0.95 * baseline[RECALLS[2]]
