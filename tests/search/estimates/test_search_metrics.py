"""What every quality metric keeps: the registered ones, the recall of a class, and a new one that
is added as anybody would add it. A metric that is registered is tested here without more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from new_metrics import KAPPA, CohensKappa, add_kappa
from sample_routed import make_costs, make_design, make_problem
from scipy import special
from sklearn import metrics as sk

from trimtab.search.estimates.guard import Guard
from trimtab.search.estimates.metric_bases import LinearisedMetric, QualityMetric
from trimtab.search.estimates.metrics import (
    QUALITY_METRICS,
    can_tell,
    known_metrics,
    linearised,
    needs_labels,
    needs_reference,
    quality_metric,
    register,
)
from trimtab.search.estimates.targets import Targets
from trimtab.search.objectives.constraints import Constraint, feasible
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.cascades import compose, front
from trimtab.search.replay.cascade import replay
from trimtab.search.routing.sweep import RoutedSweep
from trimtab_runtime.metrics import METRICS, find_metric

Array = np.ndarray[Any, np.dtype[Any]]
CLASSES = ("a", "b", "c", "d", "e", "f", "nobody's")
NAMES = sorted({*QUALITY_METRICS, "recall[b]", KAPPA.name})
LINEARISED = [*linearised(QUALITY_METRICS), KAPPA.name]


@pytest.fixture(params=NAMES)
def metric(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> QualityMetric:
    if request.param == KAPPA.name:
        add_kappa(monkeypatch)
    return quality_metric(request.param)


def drawn(seed: int, count: int = 240, skill: float = 1.2) -> tuple[Array, Array]:
    """Labels of all classes but the last, and probabilities (count, classes)."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(6, count, p=(0.35, 0.25, 0.15, 0.1, 0.1, 0.05))
    labels[:6] = range(6)
    return labels, variant(labels, seed + 1000, skill)


def variant(labels: Array, seed: int, skill: float) -> Array:
    logits = np.random.default_rng(seed).standard_normal((len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += skill
    return special.softmax(skill * logits, axis=1).astype(np.float32)


def targets_of(labels: Array, **more: Any) -> Targets:
    return Targets(labels, variant(labels, 77, 2.0).argmax(1), classes=CLASSES, **more)


def mean(values: Array) -> float:
    return float(values.mean(dtype=np.float64))


# ---- what a metric is ---------------------------------------------------------------------------


def test_it_is_defined_as_a_quality_that_people_can_read(metric: QualityMetric) -> None:
    defined = find_metric(metric.name)
    assert (defined.kind, defined.maximise) == ("quality", True)
    assert defined.title and defined.text and defined.label == defined.title
    assert quality_metric(metric.name).name == metric.name
    assert metric.linear == (not isinstance(metric, LinearisedMetric))
    assert linearised([metric.name]) == ([] if metric.linear else [metric.name])


def test_every_quality_that_is_defined_can_be_told() -> None:
    assert set(QUALITY_METRICS) == {n for n, m in METRICS.items() if m.kind == "quality"}


def test_it_is_known_where_there_is_what_it_compares_with(metric: QualityMetric) -> None:
    labels, _ = drawn(0)
    both = targets_of(labels)
    without_labels, without_reference = replace(both, labels=None), replace(both, reference=None)
    assert metric.knows(both)
    assert metric.knows(without_labels) == (not needs_labels(metric.name))
    assert metric.knows(without_reference) == (not needs_reference(metric.name))
    for targets in (both, without_labels, without_reference):
        assert can_tell(targets, metric.name) == metric.knows(targets)
        listed = metric.name in QUALITY_METRICS and metric.knows(targets)
        assert (metric.name in known_metrics(targets)) == listed


# ---- what it tells ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("blocks", [None, 8], ids=["independent", "blocks"])
def test_it_lies_in_its_interval_and_its_limits(
    metric: QualityMetric, seed: int, blocks: int | None
) -> None:
    labels, probabilities = drawn(seed)
    targets = targets_of(labels)
    if blocks is not None:
        targets = replace(targets, blocks=np.arange(len(labels)) // blocks)
    value, low, high = metric.told(targets, probabilities)
    assert metric.limits[0] <= low <= value <= high <= metric.limits[1]
    assert low < high
    assert metric.told(targets, probabilities) == (value, low, high)


def test_of_too_few_blocks_it_may_be_anything(metric: QualityMetric) -> None:
    labels, probabilities = drawn(1)
    targets = targets_of(labels, blocks=np.arange(len(labels)) // 60)
    assert metric.told(targets, probabilities)[1:] == metric.limits


def test_better_answers_are_worth_more(metric: QualityMetric) -> None:
    labels, probabilities = drawn(2, skill=0.6)
    sure = np.eye(len(CLASSES), dtype=np.float32)
    compared = targets_of(labels)
    best = sure[labels if metric.needs_labels else compared.reference]
    assert metric.told(compared, best)[0] == pytest.approx(metric.limits[1], abs=1e-6)
    assert metric.told(compared, probabilities)[0] < metric.limits[1] - 0.05


@pytest.mark.parametrize("seed", range(3))
def test_its_values_have_it_as_their_mean(metric: QualityMetric, seed: int) -> None:
    labels, probabilities = drawn(seed)
    targets = targets_of(labels)
    values = metric.values(targets, probabilities)
    assert values.shape == labels.shape
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert not metric.share or metric.name.startswith("recall") or set(values) <= {0.0, 1.0}
    assert mean(values) == pytest.approx(metric.told(targets, probabilities)[0], abs=1e-6)


def test_the_order_of_inputs_does_not_change_it(metric: QualityMetric) -> None:
    labels, probabilities = drawn(3)
    around, soft = variant(labels, 5, 1.0).argmax(1), variant(labels, 6, 2.0)
    targets = targets_of(labels, soft=soft, around=around)
    order = np.random.default_rng(0).permutation(len(labels))
    assert targets.reference is not None
    turned = replace(
        targets,
        labels=labels[order],
        reference=targets.reference[order],
        soft=soft[order],
        around=around[order],
    )
    for of in (metric.values, metric.expected):
        found, again = of(targets, probabilities), of(turned, probabilities[order])
        np.testing.assert_allclose(again, found[order], rtol=1e-5, atol=1e-6)
    value = metric.told(targets, probabilities)[0]
    assert metric.told(turned, probabilities[order])[0] == pytest.approx(value, abs=1e-12)


def test_certain_opinions_are_labels(metric: QualityMetric) -> None:
    labels, probabilities = drawn(4)
    certain = np.eye(len(CLASSES), dtype=np.float32)[labels]
    for around in (None, variant(labels, 5, 1.0).argmax(1)):
        targets = targets_of(labels, soft=certain, around=around)
        np.testing.assert_allclose(
            metric.expected(targets, probabilities),
            metric.values(targets, probabilities),
            rtol=1e-4,
            atol=1e-5,
        )
        plain = replace(targets, soft=None)
        values = metric.values(plain, probabilities)
        assert np.array_equal(metric.expected(plain, probabilities), values)


# ---- linearised estimates and exact ones --------------------------------------------------------


def test_away_from_the_baseline_it_is_exact_or_wrong_by_the_square_of_the_change(
    metric: QualityMetric,
) -> None:
    once, worse = drawn(5)
    labels, base = np.tile(once, 16), np.tile(worse, (16, 1))
    best = np.eye(len(CLASSES), dtype=np.float32)[labels]
    targets = targets_of(labels, around=base.argmax(1))

    def error(copies: int) -> float:  # in so many copies of the inputs all is right
        edge = copies * len(once)
        probabilities = np.concatenate([best[:edge], base[edge:]])
        exact = metric.told(targets, probabilities)[0]
        return abs(mean(metric.values(targets, probabilities)) - exact)

    assert error(0) == pytest.approx(0.0, abs=1e-6)
    if metric.linear:
        assert error(4) == pytest.approx(0.0, abs=1e-6)
    else:
        assert error(4) > 1e-5
        assert error(1) == pytest.approx(error(4) / 16, rel=0.3)


def test_the_guard_makes_estimates_exact_and_keeps_its_margin(metric: QualityMetric) -> None:
    labels, base = drawn(6)
    plan = np.where((np.arange(len(labels)) % 4 == 0)[:, None], drawn(7)[1], base)
    targets = targets_of(labels, soft=variant(labels, 8, 2.0))
    guard = Guard(targets, base)
    told = [metric.told(targets, decided)[0] for decided in (base, plan)]

    def estimated(decided: Array) -> Any:
        moments = guard.moments(metric.name, decided)
        return guard.estimate(metric.name, [np.array([mean(column)]) for column in moments])

    own = estimated(base)
    assert own.replayed[0] == own.guarded[0] == pytest.approx(told[0], abs=1e-6)
    found = estimated(plan)
    if metric.linear:
        assert found.replayed[0] == pytest.approx(told[1], abs=1e-6)
    else:
        exact = guard.exact_at(metric.name, found, np.array([0]), plan.argmax(1)[None])
        assert exact.replayed[0] == pytest.approx(told[1], abs=1e-12)
        margins = [e.replayed[0] - e.guarded[0] for e in (found, exact)]
        assert margins[1] == pytest.approx(margins[0], abs=1e-12)
    replayed, guarded = guard.of(metric.name, plan)
    assert replayed == pytest.approx(told[1], abs=1e-6)
    assert guarded < replayed


@pytest.mark.parametrize("metric", LINEARISED, indirect=True)
def test_a_figure_of_counts_ignores_classes_that_nobody_has(metric: QualityMetric) -> None:
    assert isinstance(metric, LinearisedMetric)
    counts = np.random.default_rng(0).integers(1, 9, (3, 2, 4)).astype(np.float64)
    of_class, answered, right = counts[0], counts[0, :, ::-1], counts[0] / 2
    padded = [np.pad(each, ((0, 0), (0, 3))) for each in (of_class, answered, right)]
    assert metric.figure(*padded) == pytest.approx(metric.figure(of_class, answered, right))


# ---- in the search ------------------------------------------------------------------------------


def test_composed_plans_are_worth_what_their_replay_is(metric: QualityMetric) -> None:
    problem = searchable(metric)
    targets = problem.guard.targets
    rows = [option.probabilities[problem.tune] for option in problem.options]
    plans = compose(problem)
    assert {len(plan.options) for plan in plans} == {1, 2, 3}
    for index in np.random.default_rng(0).permutation(len(plans))[:25]:
        plan = plans[index]
        played = replay([rows[i] for i in plan.options], plan.rule, plan.thresholds)
        told = metric.told(targets, played.decided)[0]
        assert plan.replayed[metric.name] == pytest.approx(told, abs=1e-6)


def test_routed_plans_are_worth_what_their_replay_is(metric: QualityMetric) -> None:
    problem, design = searchable(metric), make_design((0, 2), scored=True)
    every = [option.probabilities for option in problem.options]
    points = RoutedSweep(problem, design, make_costs(design)).worths(8)
    assert len(points) > 2
    for point in points:
        played = design.replay(every, point.thresholds, point.price, problem.tune, point.exits)
        told = metric.told(problem.guard.targets, played.decided)[0]
        assert point.replayed[metric.name] == pytest.approx(told, abs=1e-6)


def searchable(metric: QualityMetric) -> Any:
    """A small problem that asks for the metric, of which every class has inputs."""
    problem = make_problem(metrics=(metric.name,), classes=len(CLASSES))
    targets = problem.guard.targets
    assert targets.soft is not None
    known = replace(targets, reference=targets.soft.argmax(1), classes=CLASSES)
    guard = Guard(known, problem.options[2].probabilities[problem.tune])
    objectives = [Objective(metric.name), Objective("latency_mean_ms")]
    return replace(problem, guard=guard, objectives=objectives)


# ---- a new one ----------------------------------------------------------------------------------


def test_a_new_metric_is_an_objective_and_a_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    add_kappa(monkeypatch)
    problem = searchable(quality_metric(KAPPA.name))
    labels = problem.guard.targets.labels
    rows = [option.probabilities[problem.tune] for option in problem.options]
    plans = compose(problem)
    for plan in plans[::9]:
        answer = replay([rows[i] for i in plan.options], plan.rule, plan.thresholds).answer
        expected = sk.cohen_kappa_score(labels, answer)
        assert plan.replayed[KAPPA.name] == pytest.approx(expected)
    ahead = front(plans, problem.objectives)
    assert 1 < len(ahead) < len(plans)
    baseline = next(plan for plan in plans if plan.options == (2,)).replayed
    rule = Constraint.parse("cohens_kappa >= 0.9 * baseline")
    met = [plan for plan in ahead if feasible([rule], plan.values, baseline) == "yes"]
    assert 0 < len(met) < len(ahead)
    assert all(plan.guarded[KAPPA.name] >= 0.9 * baseline[KAPPA.name] for plan in met)


def test_a_name_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'cohens_kappa'"):
        register(CohensKappa)
    with pytest.raises(ValueError, match=r"'load_ms' is no quality metric: top1, "):
        quality_metric("load_ms")

    class Load(CohensKappa):
        name = "load_ms"

    with pytest.raises(ValueError, match=r"'load_ms' must be a quality of which more is better"):
        register(Load)
    assert KAPPA.name not in QUALITY_METRICS
