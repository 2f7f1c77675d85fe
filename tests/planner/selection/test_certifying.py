"""Which plans that stop early are certified, what is said of them, and which may be chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sample_early import FIT, independent, make_early

from trimtab.planner.jobs.dataset import SplitRows
from trimtab.planner.selection.certificates import attach_certificates
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.rules import SelectionRules as Asked
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import CertifySpec
from trimtab.search.costs.correction import Correction
from trimtab.search.estimates.risk_control import Risk, certify
from trimtab.search.exits.design import BuiltExits, Early, ExitDesign
from trimtab.search.objectives.constraints import Constraint
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.design import CascadeDesign
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.definitions.exits import NO_MEMORY, Exits, ExitThresholds, Memory, Prior, Tap
from trimtab_runtime.definitions.plan import Structure

Array = np.ndarray[Any, np.dtype[Any]]
FRAMES, ASIDE = 500, 200
TUNE = np.arange(FIT, FIT + FRAMES - ASIDE)
CERTIFY = np.arange(FIT + FRAMES - ASIDE, FIT + FRAMES)
#: Of the inputs set aside, how many the head at each tap answers otherwise than the network.
WRONG = (2, 40)


def early_of(wrong: tuple[int, int] = WRONG) -> Early:
    """Both heads are sure of everything, and differ from the network on some inputs."""
    early = make_early(independent(FRAMES))
    network = early.problem.options[0].probabilities
    logits = []
    for count in wrong:
        answers = network.argmax(1)
        answers[CERTIFY[:: ASIDE // count][:count] if count else []] += 1
        logits.append(20.0 * np.eye(network.shape[1], dtype=np.float32)[answers % 4])
    tapped = dataclasses.replace(early.tapped[0], logits=tuple(logits))
    return dataclasses.replace(early, tapped={0: tapped})


def attach(
    asked: CertifySpec | None,
    early: Early,
    plans: Sequence[PlanCandidate],
    certify: Array = CERTIFY,
    per_object: int = 1,
) -> None:
    """Certificates of plans whose taps say what those of `early` do."""
    for found in plans:
        if isinstance(found.composed.design, BuiltExits):
            design = dataclasses.replace(found.composed.design, early=early)
            found.composed = dataclasses.replace(found.composed, design=design)
    objects = np.arange(FIT + FRAMES) // per_object
    rows = SplitRows(np.arange(FIT), TUNE, TUNE[:0], None, objects=objects, certify=certify)
    data = SelectionData(
        JobSpec.model_construct(), [], rows, early.problem.options, {}, rows.tune, Correction(),
        1.0, [], [], ["agreement"], [0], 0,
    )  # fmt: skip
    attach_certificates(PlanEvaluator(data), asked, plans)


def plan(latency: float, taps: tuple[int, ...] = (), memory: Memory = NO_MEMORY) -> PlanCandidate:
    """A plan with heads at these taps; without any (nor a memory) the network itself."""
    stage = early_of().problem.options[0].stage
    if taps:
        found = tuple(Tap(f"t{tap}", "segment", ("heads",)) for tap in taps)
        stage = dataclasses.replace(stage, exits=Exits(found, "last", "arrays"))
    used = ExitDesign((0,), "last", (tuple((tap, ("heads",)) for tap in taps),), memory)
    exits = ExitThresholds(
        thumbnails=2.0 if memory.thumbnails else None, heads=0.9 if taps else None
    )
    structure = Structure("single", (stage,), "last", memory)
    early = early_of()
    built = BuiltExits(early, used, structure, exits, (1.0,) * (2 + len(taps)), 0.0)
    plain = CascadeDesign([early.problem.options[0]], "last", early.problem.path_costs((0,)))
    composed = ComposedPlan(
        (0,),
        "last",
        (),
        (1.0,),
        {"agreement": 1.0},
        {"agreement": 1.0},
        {"latency_mean_ms": latency},
        built if taps or memory != NO_MEMORY else plain,
    )
    return PlanCandidate(composed, composed.definition, "x")


REMEMBERING = Memory(thumbnails=8), Memory(prior=Prior())


def test_few_disagreements_are_certified_and_many_are_not() -> None:
    asked = CertifySpec(loss=0.05, confidence=0.9)
    good, poor = plan(4.0, (0,)), plan(3.0, (1,))
    attach(asked, early_of(), [plan(10.0), good, poor])
    losses = [np.arange(ASIDE) < count for count in WRONG]
    expected = certify(losses, Risk(0.05, 0.9))
    assert [good.certified, poor.certified] == [True, False]
    assert [good.certificate, poor.certificate] == [found.text() for found in expected]
    assert good.certificate == (
        f"disagrees with the full network on at most "
        f"{np.ceil(1000 * expected[0].bound) / 10:.1f} % of inputs (confidence 90 %, n = 200, "
        f"2 candidates)"
    )
    assert poor.certificate.startswith("not certified: 5.0 % asked, bound 2")


def test_all_candidates_are_tested_together() -> None:
    """The more static plans there are, the wider each bound; plans that remember, and networks
    without exits, are no candidates."""
    asked = CertifySpec(loss=0.03, confidence=0.9)
    agreeing = early_of((2, 2))
    alone, first, second = plan(4.0, (0,)), plan(4.0, (0,)), plan(5.0, (1,))
    third = plan(6.0, (0, 1))
    attach(asked, agreeing, [plan(10.0), alone, plan(3.0, (1,), REMEMBERING[0])])
    attach(asked, agreeing, [first, second, third])
    assert alone.certificate.endswith("n = 200, 1 candidate)")
    bounds = [certify([np.arange(ASIDE) < 2] * count, Risk(0.03, 0.9))[0] for count in (1, 3)]
    assert bounds[0].bound < 0.03 < bounds[1].bound
    assert alone.certified and not first.certified
    assert {p.certificate for p in (first, second, third)} == {bounds[1].text()}


def test_disagreements_are_counted_where_nothing_was_selected() -> None:
    early = early_of((0, 0))
    logits = early.tapped[0].logits[0]
    logits[TUNE] = np.roll(logits[TUNE], 1, axis=1)  # all wrong, but on tune
    found = plan(4.0, (0,))
    attach(CertifySpec(), early, [found])
    assert found.certified
    logits[CERTIFY] = np.roll(logits[CERTIFY], 1, axis=1)
    attach(CertifySpec(), early, [found])
    assert not found.certified, "what was certified before does not stay so"


def test_images_of_one_object_count_once() -> None:
    found = plan(4.0, (0,))
    attach(CertifySpec(loss=0.1), early_of((0, 0)), [found], per_object=2)
    assert "n = 100" in found.certificate and found.certified
    images = plan(4.0, (0,))
    attach(CertifySpec(loss=0.1), early_of((0, 0)), [images])
    assert "n = 200" in images.certificate


@pytest.mark.parametrize("count", [0, 1, 20])
def test_too_few_inputs_certify_nothing(count: int) -> None:
    found = plan(4.0, (0,))
    attach(CertifySpec(loss=0.05), early_of((0, 0)), [found], CERTIFY[:count])
    assert not found.certified
    assert found.certificate.startswith(f"not certifiable with n = {count} (1 candidate)")


@pytest.mark.parametrize("memory", REMEMBERING, ids=["thumbnails", "prior"])
def test_what_remembers_is_never_certified(memory: Memory) -> None:
    """Not even where it never disagrees."""
    found = plan(4.0, (0,), memory)
    attach(CertifySpec(loss=0.5), early_of((0, 0)), [found])
    assert not found.certified
    assert found.certificate == (
        "not certifiable: with a memory, its answers depend on each other"
    )


@pytest.mark.parametrize("memory", REMEMBERING, ids=["thumbnails", "prior"])
def test_only_certified_plans_are_chosen(memory: Memory) -> None:
    whole, good, poor = plan(10.0), plan(4.0, (0,)), plan(3.0, (1,))
    remembers = plan(1.0, (0,), memory)
    plans = [whole, good, poor, remembers]
    constraint = Constraint.parse("agreement >= 0.5")
    rules = Asked(
        [Objective("agreement"), Objective("latency_mean_ms")], [constraint], "agreement"
    )
    asked = CertifySpec(loss=0.05)
    attach(asked, early_of(), plans)
    assert rules.choose(plans, whole, plans) is None
    assert [p.is_chosen for p in plans] == [False, True, False, False]
    assert poor.reasons == [poor.certificate] and remembers.reasons == [remembers.certificate]
    assert good.reasons == [] and whole.reasons == []
    attach(asked, early_of(), [whole, poor, remembers])
    assert rules.choose([whole, poor, remembers], whole, plans) is None
    assert whole.is_chosen, "the network itself needs no certificate"


def test_where_none_is_asked_nothing_is_said() -> None:
    plans = [plan(10.0), plan(4.0, (0,)), plan(1.0, (0,), REMEMBERING[0])]
    attach(None, early_of(), plans)
    assert {(p.certified, p.certificate) for p in plans} == {(True, "")}
    attach(CertifySpec(), early_of(), plans[:1])
    assert (plans[0].certified, plans[0].certificate) == (True, "")
