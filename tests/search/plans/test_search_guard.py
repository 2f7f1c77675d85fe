"""The consensus of the ensemble, and conservative estimates."""

import numpy as np
import pytest

from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.guard import CAUTION, VETO, Guard, consensus
from trimtab.search.estimates.targets import Targets
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.cascades import compose, front
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.problem import Problem
from trimtab.search.replay.cascade import replay
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions, Stage

CLASSES = 20
FMT = InputFormat((8, 8))
OPTIONS = RuntimeOptions("onnxruntime")


def calibrated_variant(labels, skill, generator):
    """Probabilities (n, classes) that are right about as often as they say."""
    logits = generator.standard_normal((len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += skill
    # For gaussian evidence of unit variance, skill * logits are the log-posteriors.
    powers = np.exp(skill * logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def option(name, probabilities, milliseconds):
    samples = {
        f"{context}_{part}": np.full(64, milliseconds if part == "inference_ms" else 0.0)
        for context in ("hot", "beside")
        for part in ("resize_ms", "tensor_ms", "inference_ms")
    }
    values = {"load_ms": 1.0}
    cost = StageCost(FMT, OPTIONS, values, samples, 1.0)
    return StageOption(name, Stage(name * 8, OPTIONS), cost, probabilities)


def test_the_ensemble_leaves_out_those_that_are_clearly_worse():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 2000)
    good, alike = (calibrated_variant(labels, 4.0, generator) for _ in range(2))
    poor = calibrated_variant(labels, 1.5, generator)
    rows = np.arange(500)
    opinion = consensus([poor, good, alike], rows, labels[rows])
    np.testing.assert_allclose(opinion, (good + alike) / 2, rtol=1e-5)
    assert (opinion.argmax(1) == labels).mean() > (good.argmax(1) == labels).mean()


def uneven(alarms):
    """396 inputs of class 0 and 4 of class 1, a network that knows them apart but for some false
    alarms, and is as sure as it is right, and one that always says 0."""
    labels = np.array([0] * 396 + [1] * 4)
    alarm = np.zeros(400, bool)
    alarm[:alarms] = alarm[396:] = True
    able = np.where(alarm[:, None], [0.4, 0.6] if alarms else [0.01, 0.99], [0.99, 0.01])
    constant = np.tile([0.99, 0.01], (400, 1))
    return labels, able.astype(np.float32), constant.astype(np.float32)


@pytest.mark.parametrize("alarms", [0, 4])
def test_a_network_that_always_says_the_commonest_class_is_not_heard(alarms):
    labels, able, constant = uneven(alarms)
    opinion = consensus([constant, able], np.arange(400), labels)
    np.testing.assert_allclose(opinion, able, atol=1e-6)
    alone = consensus([constant], np.arange(400), labels)  # nobody else is there
    np.testing.assert_allclose(alone, constant, atol=1e-6)


@pytest.mark.parametrize("metric", ["top1", "balanced_accuracy"])
def test_a_constant_network_is_credited_with_less_than_one_that_knows(metric):
    labels, able, constant = uneven(0)
    soft = consensus([constant, able], np.arange(400), labels)
    guard = Guard(Targets(labels, None, soft, ("good", "scratch")), able)
    means = [np.array([m.mean(dtype=float)]) for m in guard.moments(metric, constant)]
    found = guard.estimate(metric, means)
    assert found.replayed == pytest.approx([0.99 if metric == "top1" else 0.5])
    assert found.guarded[0] < (0.99 if metric == "top1" else 0.7)


def test_baseline_is_estimated_as_itself():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, CLASSES, 300)
    baseline = calibrated_variant(labels, 2.0, generator)
    soft = calibrated_variant(labels, 3.0, generator)
    guard = Guard(Targets(labels, None, soft), baseline)
    means = [np.array([m.mean(dtype=float)]) for m in guard.moments("top1", baseline)]
    found = guard.estimate("top1", means)
    accuracy = float((baseline.argmax(1) == labels).mean())
    assert found.replayed == pytest.approx([accuracy])
    assert found.guarded == pytest.approx([accuracy])


def test_estimate_is_credit_less_caution_but_never_more_than_labels_allow():
    generator = np.random.default_rng(2)
    labels = generator.integers(0, CLASSES, 400)
    baseline, plan, soft = (calibrated_variant(labels, s, generator) for s in (2.0, 2.2, 2.5))
    guard = Guard(Targets(labels, None, soft), baseline)
    means = [np.array([m.mean(dtype=float)]) for m in guard.moments("top1", plan)]
    found = guard.estimate("top1", means)
    rows = np.arange(400)
    credit = soft[rows, plan.argmax(1)].astype(float) - soft[rows, baseline.argmax(1)]
    gain = (plan.argmax(1) == labels).astype(float) - (baseline.argmax(1) == labels)
    base = (baseline.argmax(1) == labels).mean()
    cautious = credit.mean() - CAUTION * credit.std() / 20
    possible = gain.mean() + VETO * gain.std() / 20
    assert found.replayed[0] == pytest.approx(base + gain.mean(), abs=1e-6)
    assert found.guarded[0] == pytest.approx(base + min(cautious, possible), abs=1e-4)


def test_labels_veto_a_consensus_that_errs():
    labels = np.zeros(400, np.int64)
    baseline = np.tile(np.eye(CLASSES, dtype=np.float32)[0], (400, 1))
    wrong = np.tile(np.eye(CLASSES, dtype=np.float32)[1], (400, 1))
    guard = Guard(Targets(labels, None, wrong), baseline)  # a consensus sure of the wrong class
    means = [np.array([m.mean(dtype=float)]) for m in guard.moments("top1", wrong)]
    assert guard.estimate("top1", means).guarded == pytest.approx([0.0])


def problem_of(generator, count):
    labels = generator.integers(0, CLASSES, count)
    skills = (1.6, 2.3, 2.6, 2.7)
    times = (1.0, 2.5, 5.0, 8.0)
    variants = [calibrated_variant(labels, skill, generator) for skill in skills]
    options = [option(name, p, t) for name, p, t in zip("abcd", variants, times, strict=True)]
    return labels, variants, options


def guarded_problem(labels, variants, options, tune, fit):
    labelled = np.concatenate([fit, tune])
    soft = consensus(variants, labelled, labels[labelled])[tune]
    guard = Guard(Targets(labels[tune], None, soft), variants[3][tune])
    objectives = [Objective("top1"), Objective("latency_mean_ms")]
    return Problem(options, tune, guard, ["top1"], objectives)


def test_composed_figures_are_those_of_the_replay():
    generator = np.random.default_rng(3)
    labels, variants, options = problem_of(generator, 700)
    tune = np.arange(100, 400)
    plans = compose(guarded_problem(labels, variants, options, tune, np.arange(100)))
    assert {len(plan.options) for plan in plans} == {1, 2, 3}
    for plan in generator.choice(np.array(plans, object), 60, replace=False):
        found = replay([variants[i][tune] for i in plan.options], plan.rule, plan.thresholds)
        right = (found.answer == labels[tune]).mean()
        assert plan.replayed["top1"] == pytest.approx(right, abs=1e-6)
        assert plan.reach == pytest.approx(found.reach(len(plan.options)))


def test_sampled_structures_give_valid_plans_and_come_near_the_front():
    generator = np.random.default_rng(4)
    labels, variants, options = problem_of(generator, 700)
    problem = guarded_problem(labels, variants, options, np.arange(100, 400), np.arange(100))
    everything = front(compose(problem), problem.objectives)
    sampled = front(compose(problem, affordable=15), problem.objectives)
    assert max(p.guarded["top1"] for p in sampled) >= 0.98 * max(
        p.guarded["top1"] for p in everything
    )
    assert min(p.costs["latency_mean_ms"] for p in sampled) == pytest.approx(1.0)


def test_guarded_choice_keeps_its_promise_where_the_naive_one_does_not():
    """Over many draws: the fastest plan 'not worse' than the best single one, on new inputs."""
    naive, guarded = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        labels, variants, options = problem_of(generator, 4400)
        tune, test = np.arange(100, 400), np.arange(400, 4400)
        problem = guarded_problem(labels, variants, options, tune, np.arange(100))
        plans = compose(problem)
        base = (variants[3][tune].argmax(1) == labels[tune]).mean()
        for found, kind in ((naive, "replayed"), (guarded, "guarded")):
            good = [p for p in plans if getattr(p, kind)["top1"] >= base - 1e-9]
            plan = min(good, key=lambda p: p.costs["latency_mean_ms"])
            answers = replay(
                [variants[i][test] for i in plan.options], plan.rule, plan.thresholds
            ).answer
            lost = (answers == labels[test]).mean() - (
                variants[3][test].argmax(1) == labels[test]
            ).mean()
            found.append(lost)
    assert np.mean(guarded) > -0.005
    assert np.mean(naive) < np.mean(guarded) - 0.005
