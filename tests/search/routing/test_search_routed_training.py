"""Routers and scorers trained on the inputs of fit, as the search uses them."""

from __future__ import annotations

import numpy as np
import pytest
from sample_routed import labels_of, make_costs, make_problem

from trimtab.search.routing.sources import (
    FeatureSource,
    StageSource,
    TensorSource,
    VectorSource,
)
from trimtab.search.routing.sweep import RoutedSweep
from trimtab.search.routing.training import RouterTargets, RouterTrainer
from trimtab.variants.routers import TINY_INPUT, Runner
from trimtab_runtime.definitions.plan import RULES

NAMES = tuple(f"f{number}" for number in range(10))


def teacher_of(inputs: int = 360, told: bool = True) -> tuple[RouterTrainer, object, np.ndarray]:
    """A problem whose first feature tells, more or less, whether the cheapest model is right."""
    problem = make_problem(inputs)
    generator = np.random.default_rng(5)
    tune = labels_of(problem)
    fit = np.arange(inputs // 3)
    truth = np.concatenate([make_labels(inputs)[: inputs // 3], tune])
    right = problem.options[0].probabilities.argmax(1) == truth
    image = generator.normal(size=(inputs, len(NAMES))).astype(np.float32)
    image[:, 0] += 3 * right
    vectors = generator.normal(size=(inputs, 120)).astype(np.float32)
    vectors[:, :40] += 2 * right[:, None]
    tensor = generator.normal(size=(inputs, 3, 48, 48)).astype(np.float32)
    tensor[right] *= 0.2
    sources: list[FeatureSource] = [TensorSource("tensor", tensor, fit)]
    if told:
        taps = StageSource("tap", {0: vectors})
        sources = [VectorSource("image", image, NAMES), taps, *sources]
    said = [option.probabilities for option in problem.options]
    return RouterTrainer(problem, RouterTargets.of(said, fit, truth[fit]), sources), problem, truth


def make_labels(inputs: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, inputs)


@pytest.fixture(scope="module")
def taught():
    teacher, problem, truth = teacher_of()
    return teacher, problem, truth, teacher.designs((0, 2))


def test_every_kind_of_router_is_trained(taught):
    _, _, _, designs = taught
    kinds = {design.router.kind for design in designs if design.router is not None}
    assert kinds == {"image", "tap", "tensor"}
    assert {s.label for d in designs for s in d.scorers if s} == {"learned", "margin"}
    assert {design.rule for design in designs} == set(RULES)
    assert all(design.scorers[-1] is None for design in designs)
    for design in designs:
        assert design.router is None or design.router.scores.shape == (360, 2)
        assert design.costs_ms[0] < design.costs_ms[1]


def test_what_tells_who_is_right_is_learned(taught):
    _, problem, truth, designs = taught
    right = problem.options[0].probabilities.argmax(1) == truth
    for design in designs:
        if design.router is None:
            continue
        scores = design.router.scores[problem.tune, 0]
        own = right[problem.tune]
        assert scores[own].mean() > scores[~own].mean() + 0.1, design.text


def test_files_say_what_the_search_took_them_to_say(taught):
    teacher, problem, _, designs = taught
    said = problem.options[0].probabilities[problem.tune[:40]]
    for design in designs:
        scorer = design.scorers[0]
        if scorer is not None:
            assert Runner(scorer.file)(said)[:, 0] == pytest.approx(scorer.score(said), abs=1e-6)
        if design.router is not None and design.router.kind == "image":
            image = next(s for s in teacher.sources if isinstance(s, VectorSource))
            seen = image.seen[problem.tune]
            assert Runner(design.router.file)(seen) == pytest.approx(
                design.router.scores[problem.tune]
            )
    assert any(design.router and design.router.input == TINY_INPUT for design in designs)


def test_nothing_but_fit_is_learned_from():
    teacher, _, _ = teacher_of()
    other, again, _ = teacher_of()
    for option in again.options:
        option.probabilities[again.tune] = option.probabilities[again.tune][::-1]
    for one, two in zip(teacher.designs((0, 2)), other.designs((0, 2)), strict=True):
        assert one.text == two.text
        if one.router is not None:
            assert one.router.file == two.router.file
        assert [s and s.file for s in one.scorers] == [s and s.file for s in two.scorers]


def test_the_premodel_as_published(taught):
    teacher, *_ = taught
    found = teacher.published([0, 1, 2], 2)
    assert found.router.published
    assert found.text == "premodel as published"
    assert len(found.router.names) == 7
    assert "f0" in found.router.names
    assert set(np.unique(found.router.scores)) <= {0.0, 1.0}
    assert (found.router.scores.sum(1) == 1).all()
    assert found.options[-1] == 2
    assert sorted(found.options) == list(found.options)


def test_a_good_premodel_is_worth_its_time(taught):
    _, problem, _, designs = taught
    (design,) = [d for d in designs if d.router and d.router.kind == "image" and d.rule == "last"]
    worths = RoutedSweep(problem, design, make_costs(design, 0.1), at_once=True).worths()
    whole = problem.options[2].probabilities[problem.tune].argmax(1) == labels_of(problem)
    best = max(worths, key=lambda worth: worth.replayed["top1"])
    assert best.replayed["top1"] > whole.mean() - 0.05
    assert best.reach[0] > 0.2


def test_without_features_there_are_tiny_networks_and_scorers_only():
    teacher, _, _ = teacher_of(told=False)
    assert teacher.published([0, 1, 2], 2) is None
    kinds = {d.router.kind for d in teacher.designs((0, 2)) if d.router}
    assert kinds == {"tensor"}
