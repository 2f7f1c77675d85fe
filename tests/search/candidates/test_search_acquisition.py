"""Expected hypervolume improvement, and the search that follows it: sooner at the front than
chance, and after a cut as if there had been none."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from trimtab.search.candidates.acquisition import Advisor, expected_improvement, reference_point
from trimtab.search.candidates.candidate import Candidate, VariantForm
from trimtab.search.candidates.study import CandidateStudy
from trimtab.search.objectives.pareto import non_dominated
from trimtab.search.predictors.base import Prediction
from trimtab.search.predictors.description import Description, Work
from trimtab.variants import OperatorWork
from trimtab_runtime.definitions.plan import RuntimeOptions

METRICS = ["top1", "latency_mean_ms"]


def told(top1: list[float], latency_ms: list[float], spread: float) -> list[Prediction]:
    """Predictions of so much spread about these values."""
    logits = np.log(np.array(top1) / (1 - np.array(top1)))
    width = np.full(len(top1), spread)
    return [
        Prediction("top1", logits, width),
        Prediction("latency_mean_ms", np.log(latency_ms), width),
    ]


FRONT = np.array([[0.6, 2.0], [0.8, 5.0]])
REFERENCE = np.array([0.5, 10.0])


def test_a_certain_candidate_improves_by_the_area_that_it_adds() -> None:
    predictions = told([0.7, 0.55, 0.9, 0.4], [3.0, 6.0, 4.0, 1.0], spread=1e-6)
    gain = expected_improvement(predictions, FRONT, REFERENCE)
    between = 0.1 * 2.0  # from 3 to 5 ms, from 0.6 to 0.7
    beyond = 0.2 * 1.0 + 0.1 * 6.0  # from 4 to 5 ms, then above all
    assert gain == pytest.approx([between, 0.0, beyond, 0.0], rel=0.05, abs=1e-9)


def test_it_is_the_mean_over_what_may_come() -> None:
    """Against a plain Monte Carlo estimate."""
    predictions = told([0.65, 0.75], [3.0, 4.0], spread=0.4)
    gain = expected_improvement(predictions, FRONT, REFERENCE)
    drawn = np.random.default_rng(0).normal(size=(2, 4000))
    for number in range(2):
        quality = 1 / (1 + np.exp(-(predictions[0].mean[number] + 0.4 * drawn[0])))
        cost = np.exp(predictions[1].mean[number] + 0.4 * drawn[1])
        areas = [area([*FRONT.tolist(), [q, c]]) for q, c in zip(quality, cost, strict=True)]
        assert gain[number] == pytest.approx(np.mean(areas) - area(FRONT.tolist()), rel=0.1)


def area(points: list[list[float]]) -> float:
    """Dominated above the reference, by strips."""
    found, height = 0.0, REFERENCE[0]
    for top1, latency_ms in sorted(points, key=lambda p: p[1]):
        if top1 > height and latency_ms < REFERENCE[1]:
            found += (top1 - height) * (REFERENCE[1] - latency_ms)
            height = top1
    return found


def test_doubt_is_worth_something() -> None:
    sure, unsure = (
        expected_improvement(told([0.55], [3.0], spread), FRONT, REFERENCE)[0]
        for spread in (0.01, 0.5)
    )
    assert sure < 1e-3 < unsure


def test_three_objectives() -> None:
    memory = Prediction("peak_memory_mb", np.log([50.0]), np.array([1e-6]))
    front = np.column_stack([FRONT, [100.0, 100.0]])
    gain = expected_improvement(
        [*told([0.55], [6.0], 1e-6), memory], front, np.array([0.5, 10.0, 200.0])
    )
    assert gain == pytest.approx([0.05 * 4.0 * 50.0], rel=0.1)


def test_the_reference_is_somewhat_worse_than_the_worst_baseline() -> None:
    values = np.array([[0.8, 2.0], [0.9, 10.0]])
    assert reference_point(METRICS, values) == pytest.approx([0.76, 10.5])


# ---- a space whose law is known -------------------------------------------------------------

WIDTHS = {"small": 8, "medium": 16, "large": 32}
PRUNED = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
WAYS = [
    RuntimeOptions("onnxruntime", threads=t, graph_optimisation=level)
    for t in (1, 2)
    for level in ("all", "extended")
]


def space() -> list[Candidate]:
    """Members as they came first; 3 x 8 x 2 x 4 = 192."""
    found = [
        Candidate(member, VariantForm.parse(" ".join(steps) or "as_is"), way)
        for member, pruned, quantised, way in itertools.product(
            WIDTHS, PRUNED, (False, True), WAYS
        )
        for steps in [[f"prune{pruned}"] * (pruned > 0) + ["w8a8"] * quantised]
    ]
    return sorted(found, key=lambda c: (not c.form.is_original, c.options != WAYS[0]))


SPACE = space()
KEYS = {candidate.key: candidate for candidate in SPACE}


def describe(key: str) -> Description:
    candidate = KEYS[key]
    steps = candidate.form.steps
    pruned = next((float(s[5:]) for s in steps if s.startswith("prune")), 0.0)
    width = WIDTHS[candidate.member]
    inner, pixels = round(width * (1 - pruned)), 32 * 32
    work = [
        OperatorWork("conv", pixels * 9 * width * inner, pixels * width, pixels * inner, 0, 4)
        for _ in range(20)
    ]
    return Description(candidate.member, steps, candidate.options, Work(tuple(work)), pixels)


def values(candidate: Candidate) -> list[float]:
    """Wider is better, pruning hurts more and more; bytes and threads are faster."""
    about = describe(candidate.key)
    pruned, quantised = about.amounts.get("prune", 0.0), "bytes" in about.multiplies
    level = {"small": 1.0, "medium": 1.6, "large": 2.4}[candidate.member]
    top1 = 1 / (1 + np.exp(-level + 3 * pruned**2 + 0.1 * quantised))
    work_ms = sum(each.multiply_accumulates for each in about.work.operators) / 15e6
    way = 1.6 ** (candidate.options.threads - 1) * (2.2 if quantised else 1.0)
    way /= 1.1 if candidate.options.graph_optimisation == "extended" else 1.0
    return [float(top1), work_ms / way + 0.1]


WHOLE = np.array([values(candidate) for candidate in SPACE])


def volume(points: np.ndarray) -> float:
    worst = WHOLE[:3].min(axis=0)[0], WHOLE[:3].max(axis=0)[1]
    costs = np.column_stack([worst[0] - points[:, 0], points[:, 1] - worst[1]])
    costs = costs[(costs < 0).all(axis=1)]
    if not len(costs):
        return 0.0
    front = costs[non_dominated(costs)]
    front = front[np.argsort(front[:, 0])]
    return float((np.diff(np.append(front[:, 0], 0.0)) * -front[:, 1]).sum())


def study(storage: Path | None = None, seed: int = 0) -> CandidateStudy:
    url = None if storage is None else f"sqlite:///{storage}"
    advisor = Advisor(METRICS, describe, seed=seed)
    return CandidateStudy("job", SPACE, 3, 3, ["maximize", "minimize"], url, seed, advisor)


def searched(found: CandidateStudy, count: int) -> list[Candidate]:
    order = []
    for _ in range(count):
        proposal = found.next()
        assert proposal is not None
        found.report(proposal, values(proposal.candidate))
        order.append(proposal.candidate)
    return order


def test_the_front_is_found_with_a_tenth_of_the_measurements() -> None:
    order = searched(study(), 19)
    assert order[:3] == SPACE[:3], "the baselines come first"
    assert len({candidate.key for candidate in order}) == 19
    reached = volume(np.array([values(candidate) for candidate in order])) / volume(WHOLE)
    generator = np.random.default_rng(0)
    by_chance = [
        volume(WHOLE[np.append([0, 1, 2], 3 + generator.permutation(len(SPACE) - 3)[:16])])
        for _ in range(20)
    ]
    assert reached > 0.97
    assert reached > np.max(by_chance) / volume(WHOLE)


def test_after_a_cut_it_proposes_what_it_would_have_proposed(tmp_path: Path) -> None:
    whole = study(tmp_path / "whole.db")
    expected, forecasts = searched(whole, 6), whole.forecasts
    order: list[Candidate] = []
    for count in (2, 3, 1):
        found = study(tmp_path / "cut.db")
        order += searched(found, count)
        assert found.next() is not None  # proposed, and never measured
    assert order == expected
    assert found.forecasts == forecasts
    assert len(forecasts) == 6 - 2, "from the third measurement on"


def test_forecasts_are_told_with_what_was_measured() -> None:
    found = study()
    order = searched(found, 10)
    forecasts = found.forecasts
    assert [measured for _, measured in forecasts] == [values(c) for c in order[2:]]
    late = np.array(forecasts[-4:])
    assert np.abs(late[:, 0, 1] / late[:, 1, 1] - 1).max() < 0.3
    assert np.abs(late[:, 0, 0] - late[:, 1, 0]).max() < 0.1


def test_what_failed_is_not_proposed_again() -> None:
    found = study()
    searched(found, 3)
    failed = found.next()
    assert failed is not None
    found.report(failed, None, "no memory")
    assert failed.candidate not in searched(found, 5)


def test_earlier_measurements_on_the_device_are_learned_from() -> None:
    """With them, latencies of a device that is three times as slow as expected are known before
    anything was measured."""
    others = [c for c in SPACE if c.member == "small"]
    earlier = [(describe(c.key), {"latency_mean_ms": 3 * values(c)[1]}) for c in others]
    wanted = [c.key for c in SPACE if c.member == "large"]
    truth = np.array([3 * values(KEYS[key])[1] for key in wanted])
    errors = []
    for before in ([], earlier):
        _, latency = Advisor(METRICS, describe, before).predict({}, wanted)
        errors.append(np.median(np.abs(latency.median / truth - 1)))
    assert errors[1] < 0.2
    assert errors[0] > 0.4
