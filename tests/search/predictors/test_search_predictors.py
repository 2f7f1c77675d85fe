"""Predictors learn the law that made the figures, say how unsure they are, and how far off."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from trimtab.search.predictors.base import Doubles, Prediction, from_scale, to_scale
from trimtab.search.predictors.cost import CostPredictor
from trimtab.search.predictors.description import Description, Work
from trimtab.search.predictors.errors import error_of, left_out_errors, summed_errors
from trimtab.search.predictors.quality import QualityPredictor
from trimtab.variants import OperatorWork
from trimtab_runtime.definitions.plan import RuntimeOptions

WAYS = [
    RuntimeOptions("onnxruntime"),
    RuntimeOptions("onnxruntime", threads=2),
    RuntimeOptions("onnxruntime", threads=2, spinning=True),
]
MEMBERS = ("thin", "short", "long", "wide", "deep")
LATENCY = "latency_mean_ms"


def network(blocks: int, width: int, side: int) -> Work:
    """Convolutions 3x3 with additions between them, and a classifier."""
    pixels, found = side * side, []
    for _ in range(blocks):
        work, weights = pixels * 9 * width * width, 9 * width * width
        found.append(OperatorWork("conv", work, pixels * width, pixels * width, weights, 4))
        found.append(OperatorWork("sum", 0, 2 * pixels * width, pixels * width, 0, 4))
    return Work((*found, OperatorWork("dense", 10 * width, width, 10, 10 * width, 4)))


WORK = dict(
    zip(
        MEMBERS,
        (
            network(8, 8, 64),
            network(4, 32, 32),
            network(20, 32, 32),
            network(6, 96, 16),
            network(40, 16, 32),
        ),
        strict=True,
    )
)


def described(member: str, *steps: str, options: RuntimeOptions = WAYS[0]) -> Description:
    return Description(member, steps, options, WORK[member], pixels=32 * 32)


ALL = [
    described(member, *steps, options=way)
    for member, steps, way in itertools.product(MEMBERS, ((), ("w8a8",)), WAYS)
]


def true_ms(found: Description) -> float:
    """A device of 12 GMAC/s: bytes are 2.5 times as fast, a second thread helps, and each operator
    has to be dispatched."""
    macs = sum(operator.multiply_accumulates for operator in found.work.operators)
    moved = sum(operator.read + operator.written for operator in found.work.operators)
    speed = 2.5 if found.multiplies else 1.0
    threads = 1.7 if found.options.threads == 2 else 1.0
    waking = 0.004 if found.options.threads == 2 and not found.options.spinning else 0.0
    work_ms = macs / 12e6 / speed / threads + moved / 3e6 / threads
    return work_ms + len(found.work.operators) * (0.002 + waking) + 0.1


LAW = np.array([true_ms(found) for found in ALL])


def errors_after(count: int, seed: int) -> tuple[Doubles, Doubles]:
    """Relative errors, and errors in units of the spread, of what was not measured."""
    order = np.random.default_rng(seed).permutation(len(ALL))
    seen, ahead = order[:count], order[count:]
    found = CostPredictor(LATENCY).predict(
        [ALL[n] for n in seen], LAW[seen], [ALL[n] for n in ahead]
    )
    errors = error_of(LATENCY, found.median, LAW[ahead])
    return errors, (np.log(LAW[ahead]) - found.mean) / found.spread


def test_latency_gets_better_with_what_is_measured() -> None:
    medians = [
        float(np.median(np.concatenate([errors_after(count, seed)[0] for seed in range(4)])))
        for count in (3, 8, 20)
    ]
    assert medians[0] < 0.35
    assert medians[0] > medians[1] > medians[2]
    assert medians[2] < 0.03


@pytest.mark.parametrize("count", [3, 8, 20])
def test_the_spread_covers_the_error(count: int) -> None:
    scores = np.concatenate([errors_after(count, seed)[1] for seed in range(4)])
    assert np.abs(scores).mean() < 1.2
    assert (np.abs(scores) < 3).mean() > 0.95


def test_a_member_that_was_never_seen() -> None:
    errors = left_out_errors(CostPredictor(LATENCY), ALL, LAW)
    assert len(errors) == len(ALL)
    assert np.median(errors) < 0.1


def test_one_measurement_corrects_what_is_said_of_a_member() -> None:
    """Its variants are as much slower than predicted as itself."""
    slow = [2 * LAW[n] if found.member == "wide" else LAW[n] for n, found in enumerate(ALL)]
    others = [n for n, found in enumerate(ALL) if found.member != "wide"]
    wanted = [found for found in ALL if found.member == "wide"][1:]
    truth = 2 * np.array([true_ms(found) for found in wanted])
    own = next(n for n, found in enumerate(ALL) if found.member == "wide")
    errors = []
    for seen in (others, [*others, own]):
        told = CostPredictor(LATENCY).predict(
            [ALL[n] for n in seen], np.array([slow[n] for n in seen]), wanted
        )
        errors.append(np.median(error_of(LATENCY, told.median, truth)))
    assert errors[0] > 0.4
    assert errors[1] < 0.15


def test_what_lays_floats_out_says_nothing_of_bytes() -> None:
    """Without onnxruntime's last level floats take three times as long, and bytes as before."""
    ways = [RuntimeOptions("onnxruntime", graph_optimisation=g) for g in ("all", "extended")]
    found = [
        described(member, *steps, options=way)
        for member, steps, way in itertools.product(MEMBERS, ((), ("w8a8",)), ways)
    ]
    slower = [3.0 if way == ways[1] and not f.steps else 1.0 for f in found for way in [f.options]]
    truth = np.array([true_ms(f) for f in found]) * slower
    seen = [n for n, f in enumerate(found) if f.options == ways[0] or f.member in MEMBERS[:2]]
    ahead = [n for n in range(len(found)) if n not in seen and found[n].steps]
    seen = [n for n in seen if found[n].options == ways[0] or not found[n].steps]
    told = CostPredictor(LATENCY).predict(
        [found[n] for n in seen], truth[seen], [found[n] for n in ahead]
    )
    assert len(ahead) == 3
    assert error_of(LATENCY, told.median, truth[ahead]).max() < 0.1


def test_bytes_without_a_sign_have_a_pace_of_their_own() -> None:
    def held(member: str, unsigned: bool) -> Description:
        operators = [
            replace(o, element_bytes=1, unsigned=unsigned) for o in WORK[member].operators
        ]
        return Description(member, (), RuntimeOptions("litert"), Work(tuple(operators)), 32 * 32)

    found = [held(member, unsigned) for member in MEMBERS for unsigned in (False, True)]
    truth = np.array([true_ms(f) * (4.0 if f.work.unsigned else 1.0) for f in found])
    told = CostPredictor(LATENCY).predict(found[:6], truth[:6], found[6:])
    assert error_of(LATENCY, told.median, truth[6:]).max() < 0.25


def test_what_no_prior_expects_is_learned_all_the_same() -> None:
    """Two threads take three hundred times as long: whole steps from the prior would overshoot."""
    slow = [n for n, found in enumerate(ALL) if found.options == WAYS[1]]
    truth = LAW.copy()
    truth[slow] *= 300
    told = CostPredictor(LATENCY).predict(ALL, truth, ALL)
    assert error_of(LATENCY, told.median, truth).max() < 0.05


def test_nothing_is_known_at_first_but_the_order_of_magnitude() -> None:
    found = CostPredictor(LATENCY).predict([], np.empty(0), ALL)
    assert (np.abs(np.log(found.median / LAW)) < 3 * found.spread).all()
    assert found.spread.min() > 0.5


def test_steps_that_the_work_does_not_show_are_learned_from_other_members() -> None:
    """'slim1' makes all members a third faster."""
    plain = [described(member) for member in MEMBERS]
    slim = [
        Description(m, ("slim1",), WAYS[0], WORK[m], 32 * 32, unseen=("slim1",)) for m in MEMBERS
    ]
    truth = np.array([true_ms(found) for found in plain])
    known = [*plain, *slim[:3]]
    values = np.concatenate([truth, truth[:3] * 0.67])
    found = CostPredictor(LATENCY).predict(known, values, slim[3:])
    assert error_of(LATENCY, found.median, truth[3:] * 0.67).max() < 0.1


def test_memory_follows_what_is_held() -> None:
    elements = [sum(operator.weights for operator in found.work.operators) for found in ALL]
    truth = 40 + 4 * np.array(elements) / 2**20
    seen, ahead = slice(0, 12), slice(12, None)
    found = CostPredictor("peak_memory_mb").predict(ALL[seen], truth[seen], ALL[ahead])
    assert np.median(error_of("peak_memory_mb", found.median, truth[ahead])) < 0.05


def accuracy(found: Description) -> float:
    """Members differ; pruning costs more and more, quantising little."""
    level = dict(zip(MEMBERS, (1.0, 1.5, 2.5, 2.2, 2.0), strict=True))[found.member]
    pruned = found.amounts.get("prune", 0.0)
    lost = 4 * pruned**2 + 0.1 * found.amounts.get("w8a8", 0.0)
    return float(1 / (1 + np.exp(-level + lost)))


def variants_of(member: str) -> list[Description]:
    amounts = [(), ("prune0.25",), ("prune0.5",), ("prune0.75",)]
    return [described(member, *a, *q) for a in amounts for q in ((), ("w8a8",))]


def test_quality_of_variants_that_were_not_built() -> None:
    known = [v for m in MEMBERS[:3] for v in variants_of(m)] + [described(m) for m in MEMBERS[3:]]
    wanted = [v for m in MEMBERS[3:] for v in variants_of(m)[1:]]
    told = QualityPredictor("top1").predict(known, np.array([accuracy(k) for k in known]), wanted)
    truth = np.array([accuracy(found) for found in wanted])
    assert error_of("top1", told.median, truth).max() < 0.03
    assert (np.abs(to_scale("top1", truth) - told.mean) < 3 * told.spread).all()


def test_options_change_no_answers() -> None:
    known = [described("wide"), described("long")]
    told = QualityPredictor("top1").predict(
        known, np.array([0.9, 0.8]), [described("wide", options=way) for way in WAYS]
    )
    assert told.median == pytest.approx([0.9] * 3, abs=0.005)
    assert told.spread.max() < 0.1


def test_quality_without_any_knowledge() -> None:
    told = QualityPredictor("top1").predict([], np.empty(0), variants_of("wide"))
    assert ((told.quantile(2.0) > 0.9) & (told.quantile(-2.0) < 0.5)).all()
    assert told.median[0] > told.median[-1], "a variant is not expected to be better"


@pytest.mark.parametrize("metric", [LATENCY, "top1"])
def test_scales_rise_and_turn_back(metric: str) -> None:
    values = np.array([0.01, 0.3, 0.5, 0.9])
    scaled = to_scale(metric, values)
    assert (np.diff(scaled) > 0).all()
    assert from_scale(metric, scaled) == pytest.approx(values)
    assert np.isfinite(to_scale(metric, np.array([0.0, 1.0]))).all()


def test_a_prediction_is_a_distribution() -> None:
    told = Prediction(LATENCY, np.log([2.0, 4.0]), np.array([0.1, 0.5]))
    assert told.median == pytest.approx([2.0, 4.0])
    assert told.below(np.array([2.0, 1e6])) == pytest.approx(
        np.array([[0.5, 1.0], [0.0828, 1.0]]), abs=1e-3
    )
    assert told.quantile(1.0) == pytest.approx([2.0 * np.exp(0.1), 4.0 * np.exp(0.5)])


def test_errors_are_summed_up() -> None:
    assert summed_errors(LATENCY, np.array([0.01, 0.05, 0.2])) == {
        "median": 0.05,
        "within": pytest.approx(2 / 3),
        "count": 3.0,
    }
    assert summed_errors("top1", np.array([0.005, 0.02]))["within"] == 0.5
    assert summed_errors("top1", np.empty(0)) == {}


def test_a_single_member_cannot_be_left_out() -> None:
    assert len(left_out_errors(CostPredictor(LATENCY), ALL[:3], LAW[:3])) == 0


@pytest.mark.parametrize(
    ("step", "amounts"),
    [
        ("w8a8", {"w8a8": 1.0}),
        ("slim2", {"slim": 2.0}),
        ("prune0.25", {"prune": 0.25}),
        ("bare", {"bare": 1.0}),
    ],
)
def test_steps_say_how_much(step: str, amounts: dict[str, float]) -> None:
    assert described("wide", step).amounts == amounts
