"""Routed plans: replays against a loop over inputs, sweeps against replays, costs by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sample_routed import (
    OPTIONS,
    lead,
    make_costs,
    make_design,
    make_problem,
    make_router,
    stage_cost,
)

from trimtab.search.costs.routed import RoutedCosts, paths
from trimtab.search.estimates.class_counts import class_counts
from trimtab.search.estimates.macro_f1 import f1_of_counts
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.replay.cascade import replay
from trimtab.search.routing.design import BuiltRouted
from trimtab.search.routing.sweep import RoutedSweep, prices
from trimtab_runtime.definitions.plan import Stage, Structure
from trimtab_runtime.definitions.routers import Router

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = ["premodel", "published", "deferral", "both"]


def design_of(kind: str, options: tuple[int, ...], rule: str = "last") -> Any:
    router = make_router(240, len(options), published=kind == "published")
    used = None if kind == "deferral" else router
    return make_design(options, rule, used, scored=kind in ("deferral", "both"))


def one_by_one(
    said: list[Array], rule: str, thresholds: tuple[float, ...], entry: Array, scored: bool
) -> list[tuple[int, int]]:
    """(answer, stage) an input, one input after the other."""
    found = []
    for row, first in enumerate(entry):
        seen: list[Array] = []
        for stage in range(first, len(said)):
            seen.append(said[stage][row].astype(np.float64))
            mean = np.mean(seen, axis=0) if rule == "mean" else seen[-1]
            sure = lead(mean[None])[0] if scored else mean.max()
            if stage == len(said) - 1 or sure >= thresholds[stage]:
                found.append((int(mean.argmax()), stage))
                break
    return found


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("rule", ["last", "mean"])
def test_a_replay_enters_where_the_router_says(rule: str, scored: bool) -> None:
    problem = make_problem()
    said = [option.probabilities for option in problem.options]
    entry = np.random.default_rng(1).integers(0, 3, len(said[0]))
    scorers = [lead, lead, None] if scored else []
    found = replay(said, rule, (0.55, 0.6), entry, scorers)
    by_hand = one_by_one(said, rule, (0.55, 0.6), entry, scored)
    assert list(zip(found.answer, found.stage, strict=True)) == by_hand
    assert (found.stage >= entry).all()
    ran = [
        np.mean([e <= s <= t for e, (_, t) in zip(entry, by_hand, strict=True)]) for s in range(3)
    ]
    assert found.reach(3) == pytest.approx(ran)


def test_without_entry_a_replay_is_that_of_a_cascade() -> None:
    said = [option.probabilities for option in make_problem().options]
    found, other = (
        replay(said, "mean", (0.5, 0.7)),
        replay(said, "mean", (0.5, 0.7), np.zeros(240, int)),
    )
    assert (found.answer == other.answer).all()
    assert not found.entry.any()
    assert found.reach(3)[0] == 1.0


@pytest.mark.parametrize("rule", ["last", "mean"])
@pytest.mark.parametrize("options", [(0, 2), (0, 1, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_sweeps_tell_what_replays_do(kind: str, options: tuple[int, ...], rule: str) -> None:
    problem, design = make_problem(), design_of(kind, options, rule)
    costs = make_costs(design)
    worths = RoutedSweep(problem, design, costs).worths()
    assert worths
    said = [option.probabilities for option in problem.options]
    labels = problem.guard.targets.labels
    for worth in worths:
        found = design.replay(said, worth.thresholds, worth.price, problem.tune)
        assert worth.replayed["top1"] == pytest.approx((found.answer == labels).mean(), abs=1e-6)
        shares = design.path_shares(found)
        assert worth.paths == pytest.approx(shares, abs=1e-6)
        assert worth.reach == pytest.approx(found.reach(len(options)), abs=1e-6)
        assert worth.latency_mean_ms == pytest.approx(costs.mean_ms(shares[None])[0])
        assert worth.guarded["top1"] <= worth.replayed["top1"] + 0.1
    took = [worth.latency_mean_ms for worth in worths]
    assert took == sorted(took)
    if kind == "published":
        assert [(worth.price, *worth.thresholds) for worth in worths] == [(0.0,) * len(options)]


def test_answering_at_once_is_a_premodel_without_a_cascade() -> None:
    problem, design = make_problem(), design_of("premodel", (0, 1, 2))
    worths = RoutedSweep(problem, design, make_costs(design), at_once=True).worths()
    assert len(worths) > 3
    assert {worth.thresholds for worth in worths} == {(0.0, 0.0)}
    assert len({worth.price for worth in worths}) == len(worths)
    for worth in worths:
        assert sum(worth.reach) == pytest.approx(1.0)


def test_macro_f1_of_a_routed_plan_is_exact() -> None:
    problem = make_problem(metrics=("macro_f1",))
    design = design_of("both", (0, 2), "mean")
    said = [option.probabilities for option in problem.options]
    labels = problem.guard.targets.labels
    assert labels is not None
    for worth in RoutedSweep(problem, design, make_costs(design)).worths(8):
        found = design.replay(said, worth.thresholds, worth.price, problem.tune)
        exact = float(f1_of_counts(*class_counts(labels, found.answer[None]))[0])
        assert worth.replayed["macro_f1"] == pytest.approx(exact)


def test_every_price_sends_inputs_another_way() -> None:
    router, rows = make_router(60, 3), np.arange(60)
    costs = (1.0, 4.0, 12.0)
    every = prices(router, costs, rows, 10_000)
    entries = [tuple(make_design((0, 1, 2), router=router).entry(rows, p)) for p in every]
    changes = [a != b for a, b in itertools.pairwise(entries)]
    assert np.mean(changes) > 0.3  # a third of all pairs of stages do not hold an input's best
    dense = {
        tuple(make_design((0, 1, 2), router=router).entry(rows, p))
        for p in np.linspace(0, 2, 4001)
    }
    assert dense - set(entries) <= {entries[-1], tuple([0] * 60)}
    assert len(prices(router, costs, rows, 9)) <= 9
    assert prices(make_router(60, 3, published=True), costs, rows, 9) == [0.0]


def parts(cost: Any, context: str, *names: str) -> float:
    return sum(float(cost.samples[f"{context}_{name}_ms"].mean()) for name in names)


ALL = ("resize", "tensor", "inference")


def test_paths_are_counted_from_entry_to_stop() -> None:
    assert paths([(1,), (1,)]) == [(0, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert paths([(1,), (1,), (1,)], routed=False) == [(0, 0, 1), (0, 1, 1), (0, 2, 1)]
    assert paths([(2, 3), (1,)]) == [(0, 0, 2), (0, 0, 3), (0, 1, 1), (1, 1, 1)]


def test_an_input_pays_for_the_router_and_the_stages_that_it_runs() -> None:
    design = make_design((0, 1, 2), router=make_router(240, 3), scored=True)
    costs = make_costs(design)
    one, two, three = (stage_cost(number) for number in range(3))
    beside = [parts(one, "beside", *ALL), parts(two, "beside", *ALL)]
    third_after_second = parts(three, "beside", "inference")  # the same format: all is shared
    wanted = {
        (0, 0): parts(one, "hot", *ALL) + 0.05 + 0.3,
        (0, 1): beside[0] + beside[1] + 0.1 + 0.3,
        (0, 2): beside[0] + beside[1] + third_after_second + 0.1 + 0.3,
        (1, 1): beside[1] + 0.05 + 0.3,
        (1, 2): beside[1] + third_after_second + 0.05 + 0.3,
        (2, 2): parts(three, "beside", *ALL) + 0.3,
    }
    for number, path in enumerate(costs.paths):
        shares = np.zeros((1, 6))
        shares[0, number] = 1.0
        assert costs.mean_ms(shares)[0] == pytest.approx(wanted[path[:2]]), path
        draws = costs.draws(shares[0])
        assert draws.mean() == pytest.approx(wanted[path[:2]], rel=0.02)
    even = np.full(6, 1 / 6)
    spent = costs.stage_spent_ms(even)
    assert sum(spent) + costs.router_ms() == pytest.approx(costs.mean_ms(even[None])[0])
    assert spent[1] == pytest.approx((4 * beside[1] + 4 * 0.05) / 6)
    known = costs.known(even)
    assert known["latency_p95_ms"] > known["latency_mean_ms"]
    assert "peak_memory_mb" not in known
    assert costs.router_ms() == pytest.approx(0.3)


def test_a_router_on_a_tap_makes_every_input_run_that_far() -> None:
    design = make_design((1, 2), router=make_router(240, 2))
    costs = make_costs(design, router_ms=0.02, taps=True)
    first, rest = (stage_cost(1, ms) for ms in (0.3, 0.7))
    until = parts(first, "beside", *ALL)
    later = parts(stage_cost(2), "beside", "inference")  # resized and made a tensor before the tap
    assert costs.mean_ms(np.array([[0.0, 0.0, 1.0]]))[0] == pytest.approx(until + later + 0.02)
    whole = parts(first, "hot", *ALL) + parts(rest, "hot", "inference") + 0.02
    assert costs.mean_ms(np.array([[1.0, 0.0, 0.0]]))[0] == pytest.approx(whole)
    assert costs.stage_ms()[0] == pytest.approx(whole - 0.02)
    assert costs.stage_spent_ms(np.array([0.0, 0.0, 1.0])) == pytest.approx([until, later])


def test_what_was_measured_together_tells_memory_and_load_time() -> None:
    design = make_design((0, 1), router=make_router(240, 2))
    plain = make_costs(design)
    known = RoutedCosts(
        plain.chains,
        plain.router_samples,
        plain.scorer_samples,
        further_mb=0.5,
        together={"load_ms": 7.0, "peak_mb": 80.0},
    ).fixed()
    assert known["load_ms"] == 7.0
    assert known["peak_memory_mb"] == 80.0
    assert known["bundle_size_mb"] == pytest.approx(plain.fixed()["bundle_size_mb"] + 0.5)


def test_a_composed_plan_carries_router_and_price() -> None:
    problem, design = make_problem(), design_of("premodel", (0, 2))
    stages = tuple(replace(Stage("s", OPTIONS), variant=str(n)) for n in (0, 2))
    router = Router("r" * 64, "image", design.costs_ms, ("contrast",))
    structure = Structure("premodel", stages, router=router)
    costs = make_costs(design)
    worth = RoutedSweep(problem, design, costs).worths()[1]
    plan = ComposedPlan(
        (0, 2),
        "last",
        worth.thresholds,
        worth.reach,
        worth.replayed,
        worth.guarded,
        {"latency_mean_ms": worth.latency_mean_ms},
        BuiltRouted(
            design,
            [option.probabilities for option in problem.options],
            structure,
            worth.price,
            worth.paths,
            costs,
        ),
    )
    found = plan.definition
    assert (found.structure, found.price) == (structure, worth.price)
    assert plan.design.rival == ""
    assert isinstance(plan.design, BuiltRouted)
    published = replace(plan.design, design=design_of("published", (0, 2)))
    assert published.rival == "premodel test"
