"""Which operating points are bundled: the guarded front of a structure, with the plan's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sample_early import (
    CLASSES,
    FIT,
    independent,
    labels_of,
    make_early,
    said_of,
    stage_cost,
)

from trimtab.planner.selection.operating_points import POINTS, family, operating_point, thinned
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.plans.cascades import Sweeps
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.problem import Problem
from trimtab_runtime.definitions.plan import OperatingPoint


def point(latency_ms: float, top1: float, threshold: float = 0.5) -> OperatingPoint:
    return OperatingPoint((threshold,), {"latency_mean_ms": latency_ms, "top1": top1})


def told(points: Sequence[OperatingPoint]) -> list[tuple[float, float]]:
    return [(p.metrics["latency_mean_ms"], p.metrics["top1"]) for p in points]


def test_the_front_fastest_first() -> None:
    own = point(3.0, 0.8)
    others = [point(9.0, 0.9), point(1.0, 0.6), point(4.0, 0.79), point(5.0, 0.85)]
    assert told(thinned(others, own, "top1")) == [(1.0, 0.6), (3.0, 0.8), (5.0, 0.85), (9.0, 0.9)]


def test_the_own_point_stays_and_what_beats_it_goes() -> None:
    """As where another objective than these two made it good: the rest is a front with it."""
    own = point(3.0, 0.8)
    others = [point(2.0, 0.85), point(3.0, 0.8, 0.7), point(3.0, 0.9), point(2.5, 0.7), own]
    assert thinned(others, own, "top1") == (others[3], own)
    assert thinned([], own, "top1") == (own,)


def test_unknown_is_not_bundled() -> None:
    own = point(3.0, 0.8)
    blind = [
        OperatingPoint((0.1,), {"latency_mean_ms": 1.0}),
        OperatingPoint((0.2,), {"top1": 0.9}),
    ]
    assert thinned(blind, own, "top1") == (own,)
    assert thinned([own, point(1.0, 0.5)], blind[0], "top1") == (blind[0],)


@pytest.mark.parametrize("count", [1, 2, 5, POINTS])
def test_thinned_to_a_number_that_spans_the_front(count: int) -> None:
    latency = np.geomspace(2.0, 40.0, 200)
    points = [point(float(ms), 0.5 + 0.1 * float(np.log(ms)), float(ms)) for ms in latency]
    own = points[77]
    found = thinned(points, own, "top1", count)
    assert len(found) == count
    assert own in found
    assert list(found) == sorted(found, key=lambda p: p.metrics["latency_mean_ms"])
    if count == POINTS:
        assert found[0] == points[0]
        assert found[-1] == points[-1]
        steps = np.diff(np.log([p.metrics["latency_mean_ms"] for p in found]))
        assert steps.max() < 2.1 * np.log(20.0) / (POINTS - 1)


# ---- of composed plans -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Two networks: one that is fast, one that is good."""
    early = make_early(independent(200))
    (slow,) = early.problem.options
    labels = np.concatenate([np.arange(FIT) % CLASSES, labels_of(early)])
    said = said_of(labels, np.arange(len(labels)), 2.0, np.random.default_rng(9))
    stage = replace(slow.stage, variant="fast" * 8)
    fast = StageOption("fast", stage, stage_cost(3.0), np.exp(said))
    return replace(early.problem, options=[fast, slow])


def judged(problem: Problem, stages: tuple[int, ...], rule: str = "last") -> list[PlanCandidate]:
    plans = Sweeps(problem).plans(stages, rule)
    return [PlanCandidate(plan, plan.definition, "x") for plan in plans]


def test_a_family_is_of_one_structure(problem: Problem) -> None:
    cascade = judged(problem, (0, 1))
    others = [*judged(problem, (0, 1), "mean"), *judged(problem, (0,)), *judged(problem, (1,))]
    own = cascade[len(cascade) // 2]
    found = family([*others, *cascade], own, "top1")
    assert operating_point(own) in found
    assert 4 < len(found) <= POINTS
    possible = [operating_point(plan) for plan in cascade]
    assert all(point in possible for point in found)
    latency, top1 = np.array(told(found)).T
    assert (np.diff(latency) > 0).all()
    assert (np.diff(top1) > 0).all()


def test_what_a_bundle_taught_holds_for_its_family(problem: Problem) -> None:
    cascade = judged(problem, (0, 1))
    own = cascade[-1]
    before = family(cascade, own, "top1")
    own.factors["latency_mean_ms"] = 1.5
    after = family(cascade, own, "top1")
    assert [p.thresholds for p in after] == [p.thresholds for p in before]
    slower = [b[0] / a[0] for a, b in zip(told(before), told(after), strict=True)]
    assert slower == pytest.approx([1.5] * len(before))
    assert cascade[0].factors == {}
