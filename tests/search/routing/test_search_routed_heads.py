"""Routed plans with heads inside their stages: replays by entry, costs by segment, sweeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sample_early import CLASSES, FIT, independent, labels_of, make_early, said_of, stage_cost
from sample_routed import NOTHING, lead, make_design, make_router

from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.exits.design import Early, ExitDesign, Thresholds
from trimtab.search.plans.option import StageOption
from trimtab.search.routing.design import LearnedScorer, RoutedDesign
from trimtab.search.routing.heads import headed_worths, with_heads
from trimtab.search.routing.sweep import RoutedSweep
from trimtab_runtime.definitions.exits import NO_MEMORY, ExitThresholds
from trimtab_runtime.memory import kernel

STREAM = independent(200)
SEGMENTS_MS = (3.2, 3.2, 4.0)


@pytest.fixture(scope="module")
def early() -> Early:
    """Option 0: a network of 10 ms with two taps; option 1: a better one of 30 ms without."""
    found = make_early(STREAM)
    labels = np.concatenate([np.arange(FIT) % CLASSES, labels_of(found)])
    said = said_of(labels, np.arange(len(labels)), 6.0, np.random.default_rng(3))
    slow = StageOption(
        "slow", replace(found.problem.options[0].stage, variant="slow" * 8), stage_cost(30.0), said
    )
    slow = replace(slow, probabilities=np.exp(said))
    problem = replace(found.problem, options=[*found.problem.options, slow])
    return replace(found, problem=problem)


def design_of(early: Early, kind: str = "tensor", rule: str = "last") -> RoutedDesign:
    router = replace(make_router(len(early.thumbnails), 2), kind=kind)
    plain = replace(make_design((0, 1), rule, router), costs_ms=(10.0, 30.0))
    found = with_heads(plain, early)
    assert found is not None
    return found


def costs_of(design: RoutedDesign) -> RoutedCosts:
    """Segments as long as the taps of the design make them."""
    heads = [tap for tap, _ in design.heads.taps[0]] if design.heads else []
    taps = [0] * design.reads_tap + heads
    segments = [stage_cost(ms) for ms in SEGMENTS_MS]
    chain = StageSegments(tuple(segments), segments[0].values, 1.5).merged(taps)
    slow = stage_cost(30.0)
    return RoutedCosts(
        [chain, StageSegments((slow,), slow.values, 1.0)],
        np.full(64, 0.1),
        [NOTHING, NOTHING],
        True,
        design.reads_tap,
        ends=design.ends,
    )


def test_heads_are_put_at_the_last_taps_but_the_routers_own(early: Early) -> None:
    design = design_of(early)
    assert design.heads is not None
    assert design.heads.taps == (((0, ("heads",)), (1, ("heads",))), ())
    assert design.ends == [(1, 2, 3), (1,)]
    assert "heads at 2 taps" in design.text
    other = design_of(early, "tap")
    assert other.heads is not None
    assert other.heads.taps == (((1, ("heads",)),), ())
    assert other.ends == [(2, 3), (1,)]
    assert other.kind == "tap + heads"


def test_heads_go_with_no_scorer_and_need_a_tap(early: Early) -> None:
    plain = replace(design_of(early), heads=None)
    scored = replace(plain, scorers=(LearnedScorer("x", b"", lead), None))
    assert with_heads(scored, early) is None
    assert with_heads(plain, replace(early, tapped={})) is None
    assert with_heads(replace(plain, router=make_router(9, 2, published=True)), early) is None


@pytest.mark.parametrize("rule", ["last", "mean"])
@pytest.mark.parametrize("kind", ["tensor", "tap"])
def test_where_no_head_is_sure_nothing_changes(early: Early, kind: str, rule: str) -> None:
    design = design_of(early, kind, rule)
    said = [option.probabilities for option in early.problem.options]
    rows = early.problem.tune
    plain = replace(design, heads=None).replay(said, (0.7,), 0.01, rows)
    found: Any = design.replay(said, (0.7,), 0.01, rows, ExitThresholds(heads=2.0))
    for name in ("answer", "stage", "entry"):
        assert (getattr(found, name) == getattr(plain, name)).all(), name
    assert (found.tap == -1).all()
    assert found.decided == pytest.approx(plain.decided, abs=1e-6)
    whole = [own[-1] for own in design.ends]
    assert (found.ran == np.array(whole)[found.stage]).all()


@pytest.mark.parametrize("kind", ["tensor", "tap"])
def test_a_head_answers_those_that_enter_at_its_stage(early: Early, kind: str) -> None:
    design, rows = design_of(early, kind), early.problem.tune
    assert design.heads is not None
    said = [option.probabilities for option in early.problem.options]
    exits = ExitThresholds(heads=0.6)
    found: Any = design.replay(said, (0.7,), 0.01, rows, exits)
    entry = design.entry(rows, 0.01)
    assert 0.1 < entry.mean() < 0.9
    assert (found.stage[entry == 1] == 1).all()
    assert (found.by[entry == 1] == kernel.NETWORK).all()
    inside = found.by == kernel.HEADS
    assert inside[entry == 0].mean() > 0.2
    stage = early._stage(0, design.heads.taps[0], False, rows)  # by hand, tap by tap
    sure = np.stack([logits.max(1) for logits in map(_softmax, stage.logits)])
    by_hand = (sure >= 0.6).any(0) & (entry == 0)
    assert (inside == by_hand).all()
    first = (sure >= 0.6).argmax(0) + design.reads_tap
    assert (found.tap[inside] == first[inside]).all()
    assert (found.ran[inside] == first[inside] + 1).all()


def _softmax(logits: Any) -> Any:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def test_an_input_pays_for_the_segments_that_it_ran(early: Early) -> None:
    design = design_of(early)
    costs = costs_of(design)
    assert costs.paths == design.paths
    took = {}
    for number, path in enumerate(costs.paths):
        shares = np.zeros((1, len(costs.paths)))
        shares[0, number] = 1.0
        took[path] = costs.mean_ms(shares)[0] - 0.1
        assert costs.draws(shares[0]).mean() - 0.1 == pytest.approx(took[path])
        spent = costs.stage_spent_ms(shares[0])
        assert sum(spent) == pytest.approx(took[path])
    assert took == {
        (0, 0, 1): pytest.approx(3.2),
        (0, 0, 2): pytest.approx(6.4),
        (0, 0, 3): pytest.approx(10.4),
        (0, 1, 1): pytest.approx(1.2 * (10.4 + 30.0)),
        (1, 1, 1): pytest.approx(1.2 * 30.0),
    }


@pytest.mark.parametrize("kind", ["tensor", "tap"])
def test_worths_are_those_of_replays(early: Early, kind: str) -> None:
    design, problem = design_of(early, kind), early.problem
    costs = costs_of(design)
    plain = replace(design, heads=None)
    bases = RoutedSweep(problem, plain, costs_of(plain)).worths()
    found = headed_worths(problem, design, costs, bases)
    said = [option.probabilities for option in problem.options]
    labels = labels_of(early)
    assert len(found) > 3
    for worth in found:
        again = design.replay(said, worth.thresholds, worth.price, problem.tune, worth.exits)
        assert worth.replayed["top1"] == pytest.approx((again.answer == labels).mean())
        assert worth.paths == pytest.approx(design.path_shares(again))
        assert sum(worth.paths) == pytest.approx(1.0)
        assert worth.reach == pytest.approx(again.reach(2))
    took = [worth.latency_mean_ms for worth in found]
    assert took == sorted(took)


def test_from_its_entry_on_it_is_the_plan_that_stops_early(early: Early) -> None:
    design, rows = design_of(early), early.problem.tune
    assert design.heads is not None
    said = [option.probabilities for option in early.problem.options]
    exits = ExitThresholds(heads=0.6)
    everyone = replace(design, costs_ms=(0.0, 1e9))  # all enter at the first
    found: Any = everyone.replay(said, (0.7,), 1.0, rows, exits)
    plan = ExitDesign((0, 1), "last", design.heads.taps, NO_MEMORY)
    other = early.replay(plan, Thresholds((0.7,), exits), rows)
    for name in ("answer", "stage", "tap", "by"):
        assert (getattr(found, name) == getattr(other, name)).all(), name
