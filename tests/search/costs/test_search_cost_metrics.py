"""What every cost metric keeps: the registered ones, and a new one that is added as anybody would
add it. A cost that is registered is tested here without more."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from new_metrics import START, StartMemory, add_start_memory
from sample_routed import NOTHING, make_costs, make_design, make_problem, make_router, stage_cost

from trimtab.search.costs.base import PlanCosts
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Correction, corrected_metrics
from trimtab.search.costs.metrics import COST_METRICS, AverageCost, FixedCost, register
from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.costs.segmented import FrameOverheads, SegmentedCosts, StageSegments
from trimtab.search.costs.stage import StageCost
from trimtab.search.objectives.constraints import Constraint, feasible
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.cascades import compose, front
from trimtab_runtime.metrics import METRICS, PERCENTILE_MIN_SAMPLES, find_metric

#: What a probe tells of a process, beside its samples.
VALUES = {
    "load_ms": 5.0,
    "start_mb": 40.0,
    "engine_mb": 20.0,
    "resident_mb": 10.0,
    "load_transient_mb": 5.0,
    "run_transient_mb": 2.0,
    "peak_mb": 75.0,
    "energy_mj": 3.0,
}
NAMES = sorted({*COST_METRICS, START.name})
KINDS = ("cascade", "segmented", "routed")


@pytest.fixture(params=NAMES)
def metric(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == START.name:
        add_start_memory(monkeypatch)
    return COST_METRICS[request.param]


def stages(**values: float) -> list[StageCost]:
    return [dataclasses.replace(stage_cost(n), values={**VALUES, **values}) for n in (0, 1)]


def costs_of(
    kind: str,
    correction: Correction | None = None,
    together: dict[str, float] | None = None,
) -> tuple[PlanCosts, Any]:
    """Costs of a plan of two stages, with shares of inputs (4, parts) for it."""
    chains = [StageSegments((cost,), cost.values, cost.size_mb) for cost in stages()]
    later = np.array([0.0, 0.25, 0.5, 1.0])[:, None]
    if kind == "cascade":
        costs: PlanCosts = CascadeCosts(stages(), together, correction)
        return costs, np.hstack([np.ones((4, 1)), later])
    if kind == "segmented":
        none = FrameOverheads(NOTHING, NOTHING)
        costs = SegmentedCosts(chains, none, together, correction)
        return costs, np.hstack([np.ones((4, 2)), later])
    plain = make_costs(make_design((0, 1), router=make_router(8, 2)))
    scorers = plain.scorer_samples
    costs = RoutedCosts(
        chains, plain.router_samples, scorers, together=together, correction=correction
    )
    return costs, np.hstack([0.5 - later / 2, later, 0.5 - later / 2])


def test_every_cost_that_is_defined_is_predicted() -> None:
    percentiles = {f"latency_p{percentile}_ms" for percentile in PERCENTILE_MIN_SAMPLES}
    assert {*COST_METRICS, *percentiles} == {n for n, m in METRICS.items() if m.kind == "cost"}


def test_it_is_defined_as_a_cost_that_people_can_read(metric: Any) -> None:
    defined = find_metric(metric.name)
    assert (defined.kind, defined.maximise) == ("cost", False)
    assert defined.title and defined.text and defined.unit
    assert defined.label == f"{defined.title}, {defined.unit}"
    assert metric.name.endswith(f"_{defined.unit.lower()}")
    assert defined.corrected_by in ("", *corrected_metrics())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_of_one_plan_is_what_is_predicted_of_many(metric: Any, kind: str) -> None:
    costs, reach = costs_of(kind, together={"peak_mb": 70.0, "load_ms": 9.0, "start_mb": 44.0})
    if isinstance(metric, FixedCost):
        value = metric.predict(costs)
        predicted = None if value is None else np.full(len(reach), value)
    else:
        assert isinstance(metric, AverageCost)
        predicted = metric.predict(costs, reach)
    for number, row in enumerate(reach):
        known = costs.known(row)
        if predicted is None:
            assert metric.name not in known
        else:
            assert np.isfinite(known[metric.name])
            assert known[metric.name] == pytest.approx(predicted[number])
            assert known[metric.name] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_corrected_as_its_definition_says(metric: Any, kind: str) -> None:
    defined = find_metric(metric.name)
    models = {name: {"base": np.log(2.0)} for name in corrected_metrics()}
    together = {"peak_mb": 70.0}
    (plain, reach), (moved, _) = (
        costs_of(kind, None, together),
        costs_of(kind, Correction(models), together),
    )
    before, after = plain.known(reach[1]), moved.known(reach[1])
    assert before.keys() == after.keys()
    factor = 2.0 if defined.corrected_by else 1.0
    assert moved.factor(metric.name) == pytest.approx(factor)
    if metric.name in before:
        assert after[metric.name] == pytest.approx(factor * before[metric.name])


def test_percentiles_take_the_factor_of_the_mean_and_may_be_left_out() -> None:
    costs, reach = costs_of("cascade")
    (moved, _) = costs_of("cascade", Correction({"latency_mean_ms": {"base": np.log(2.0)}}))
    full, short = costs.known(reach[1]), costs.known(reach[1], percentiles=False)
    assert "latency_p95_ms" in full
    assert short == {n: v for n, v in full.items() if not n.startswith("latency_p")}
    assert moved.known(reach[1])["latency_p95_ms"] == pytest.approx(2 * full["latency_p95_ms"])


# ---- a new one ----------------------------------------------------------------------------------


def test_a_new_cost_is_an_objective_and_a_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    add_start_memory(monkeypatch)
    problem = make_problem()
    options = [
        dataclasses.replace(
            option,
            cost=dataclasses.replace(option.cost, values={**VALUES, "start_mb": 40.0 + number}),
        )
        for number, option in enumerate(problem.options)
    ]
    objectives = [Objective("top1"), Objective(START.name)]
    problem = dataclasses.replace(problem, options=options, objectives=objectives)
    plans = compose(problem)
    for plan in plans:
        assert plan.costs[START.name] == 40.0 + max(plan.options)
    ahead = front(plans, objectives)
    assert {plan.costs[START.name] for plan in ahead} == {40.0, 41.0, 42.0}
    rule = Constraint.parse(f"{START.name} <= 41.5")
    met = [plan for plan in plans if feasible([rule], plan.values, {}) == "yes"]
    assert met and all(2 not in plan.options for plan in met)


def test_a_new_cost_is_unknown_where_it_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    add_start_memory(monkeypatch)
    bare = [dataclasses.replace(cost, values={"load_ms": 1.0}) for cost in stages()]
    assert START.name not in CascadeCosts(bare).known(np.array([1.0, 0.5]))


def test_a_name_that_is_not_defined_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'start_memory_mb'"):
        register(StartMemory)

    class Right(StartMemory):
        name = "top1"

    with pytest.raises(ValueError, match=r"'top1' must be a cost of which less is better"):
        register(Right)
    assert START.name not in COST_METRICS
