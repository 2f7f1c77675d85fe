"""Which plans that stop early may be chosen: those that save more than luck."""

from __future__ import annotations

import dataclasses

import pytest
from sample_early import independent, make_early

from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.rules import WORTHWHILE, SelectionRules
from trimtab.search.estimates.guard import EARLY_CAUTION
from trimtab.search.exits.design import BuiltExits, ExitDesign
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.design import CascadeDesign, PlanDesign
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.definitions.exits import ExitThresholds, Memory
from trimtab_runtime.definitions.plan import Structure

RULES = SelectionRules([Objective("agreement"), Objective("latency_mean_ms")], [], "agreement")


def plan(latency_ms: float, error_ms: float | None = None) -> PlanCandidate:
    """The network itself or, with an error, beside a memory of eight thumbnails."""
    known = make_early(independent(40))
    problem = known.problem
    built: PlanDesign = CascadeDesign([problem.options[0]], "last", problem.path_costs((0,)))
    if error_ms is not None:
        memory = Memory(thumbnails=8)
        structure = Structure("single", (problem.options[0].stage,), "last", memory)
        design = ExitDesign((0,), "last", ((),), memory)
        exits = ExitThresholds(thumbnails=2.0)
        built = BuiltExits(known, design, structure, exits, (1.0, 0.9), error_ms)
    composed = ComposedPlan(
        (0,),
        "last",
        (),
        (1.0,),
        {"agreement": 1.0},
        {"agreement": 1.0},
        {"latency_mean_ms": latency_ms},
        built,
    )
    return PlanCandidate(composed, composed.definition, "x")


@pytest.mark.parametrize(
    ("latency_ms", "error_ms", "pays"),
    [
        (9.6, 0.0, True),
        (9.8, 0.0, False),
        (9.0, 0.4, True),
        (9.0, 0.5, False),
        (5.0, 2.0, True),
    ],
)
def test_early_plans_must_save_more_than_measurements_and_luck(
    latency_ms: float, error_ms: float, pays: bool
) -> None:
    baseline, early = plan(10.0), plan(latency_ms, error_ms)
    assert pays == (latency_ms + EARLY_CAUTION * error_ms <= WORTHWHILE * 10.0)
    good = RULES.good([baseline, early], baseline)
    assert good == ([early, baseline] if pays else [baseline])
    assert any("saves less than 3%" in reason for reason in early.reasons) == (not pays)
    assert not baseline.reasons, "a network needs no excuse"


def test_what_its_bundle_measured_counts() -> None:
    baseline, early = plan(10.0), plan(9.0, 0.2)
    assert early in RULES.good([baseline, early], baseline)
    early.factors["latency_mean_ms"] = 1.1
    assert early not in RULES.good([baseline, early], baseline)
    faster = dataclasses.replace(baseline, factors={"latency_mean_ms": 1.2})
    assert early in RULES.good([faster, early], faster)
