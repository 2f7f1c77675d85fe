"""What plans cost that stop inside a network: thumbnails, segments, learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Correction
from trimtab.search.costs.metrics import BUNDLE_OVERHEAD_MB
from trimtab.search.costs.segmented import FrameOverheads, SegmentedCosts, StageSegments
from trimtab.search.costs.stage import StageCost
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions

SMALL = InputFormat((96, 96), mean=(127.0,), std=(128.0,))
LARGE = InputFormat((224, 224), mean=(127.0,), std=(128.0,))
OPTIONS = RuntimeOptions("onnxruntime")
NONE = FrameOverheads(np.zeros(0), np.zeros(0))
VALUES = {
    "load_ms": 30.0,
    "start_mb": 40.0,
    "engine_mb": 20.0,
    "resident_mb": 10.0,
    "load_transient_mb": 5.0,
    "run_transient_mb": 2.0,
    "peak_mb": 75.0,
}
ALL = ("resize", "tensor", "inference")
#: Milliseconds of resize, tensor and inference a segment, as a probe tells them.
THREE = [(1.0, 0.25, 2.0), (0.0, 0.0, 3.0), (0.0, 0.0, 4.0)]


def chain(
    seed: int,
    parts: Sequence[tuple[float, float, float]] = ((1.0, 0.25, 5.0),),
    fmt: InputFormat = SMALL,
    rounds: int = 200,
    values: Mapping[str, float] = VALUES,
    spread: bool = True,
) -> StageSegments:
    """Segments with skewed times, or with constant ones; beside another all is a fifth slower."""
    generator = np.random.default_rng(seed)
    segments = []
    for part in parts:
        samples = {}
        for context, slower, count in (("hot", 1.0, 4 * rounds), ("beside", 1.2, rounds)):
            for name, mean in zip(ALL, part, strict=True):
                drawn = generator.gamma(20, 1 / 20, count) if spread else np.ones(count)
                samples[f"{context}_{name}_ms"] = mean * slower * drawn
        segments.append(StageCost(fmt, OPTIONS, values, samples, 4.0))
    return StageSegments(tuple(segments), values, 4.0)


def flat(seed: int = 0, **changes: Any) -> StageSegments:
    return chain(seed, spread=False, **changes)


def overheads(thumbnails: float, learning: float, count: int = 200) -> FrameOverheads:
    return FrameOverheads(np.full(count, thumbnails), np.full(count, learning))


def mean_ms(costs: SegmentedCosts, *reach: float) -> float:
    return float(costs.mean_ms(np.array([reach]))[0])


# ---- by hand -----------------------------------------------------------------------------------


def test_a_whole_network_behind_thumbnails() -> None:
    """All frames look (0.5) and learn (0.125); a quarter of them are not known and run: of these
    a quarter follows a frame that ran too."""
    costs = SegmentedCosts([flat()], overheads(0.5, 0.125))
    assert costs.steps == 2
    hot, beside = 6.25, 7.5
    assert mean_ms(costs, 1.0, 0.25) == pytest.approx(0.625 + 0.25 * (0.25 * hot + 0.75 * beside))
    assert mean_ms(costs, 1.0, 1.0) == pytest.approx(0.625 + hot)
    assert mean_ms(costs, 1.0, 0.0) == pytest.approx(0.625)


def test_segments_are_paid_by_those_that_come_to_them() -> None:
    costs = SegmentedCosts([flat(parts=THREE)], NONE)
    assert costs.steps == 4
    expected = 3.25 + 0.5 * (0.5 * 3.0 + 0.5 * 3.6) + 0.25 * (0.25 * 4.0 + 0.75 * 4.8)
    assert mean_ms(costs, 1.0, 1.0, 0.5, 0.25) == pytest.approx(expected)
    assert costs.step_ms() == pytest.approx([0.0, 3.25, 3.0, 4.0])


def test_a_second_stage_is_always_beside_and_cools_the_first() -> None:
    costs = SegmentedCosts(
        [flat(parts=THREE[:2]), flat(parts=[(2.0, 0.5, 8.0), (0.0, 0.0, 1.0)], fmt=LARGE)],
        overheads(0.5, 0.125),
    )
    assert costs.steps == 5
    reach = (1.0, 0.8, 0.6, 0.4, 0.2)
    first, second = 0.8 * (1 - 0.4), 0.6 * (1 - 0.4)  # warm where no second stage came between
    expected = 0.625
    expected += 0.8 * (first * 3.25 + (1 - first) * 3.9)
    expected += 0.6 * (second * 3.0 + (1 - second) * 3.6)
    expected += 0.4 * 1.2 * 10.5 + 0.2 * 1.2 * 1.0
    assert mean_ms(costs, *reach) == pytest.approx(expected)
    assert costs.step_ms() == pytest.approx([0.625, 3.25, 3.0, 12.6, 1.2])
    spent = costs.stage_spent_ms(np.array(reach))
    assert spent == pytest.approx([0.8 * 3.25 + 0.6 * 3.0, 0.4 * 12.6 + 0.2 * 1.2])


@pytest.mark.parametrize(
    ("fmt", "paid"),
    [(SMALL, 5.0), (dataclasses.replace(SMALL, mean=(0.0,)), 5.25), (LARGE, 6.25)],
    ids=["same tensor", "same resize", "nothing shared"],
)
def test_what_the_first_stage_prepared_is_not_paid_again(fmt: InputFormat, paid: float) -> None:
    costs = SegmentedCosts([flat(), flat(fmt=fmt)], NONE)
    assert costs.step_ms() == pytest.approx([0.0, 6.25, 1.2 * paid])


def test_samples_of_many_plans_at_a_time_are_those_of_each() -> None:
    costs = SegmentedCosts([chain(0, THREE), chain(1, fmt=LARGE)], overheads(0.5, 0.1))
    reach = np.sort(np.random.default_rng(0).uniform(0, 1, (7, 5)), axis=1)[:, ::-1]
    alone = [mean_ms(costs, *row) for row in reach]
    assert costs.mean_ms(reach).tolist() == pytest.approx(alone)


# ---- merging -----------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [(), (0,), (1,), (0, 1)], ids=str)
def test_a_merged_chain_is_the_sum_of_its_parts(taps: tuple[int, ...]) -> None:
    whole = chain(3, THREE)
    merged = whole.merged(taps)
    bounds = [0, *(tap + 1 for tap in taps), 3]
    assert len(merged.segments) == len(taps) + 1
    for segment, start, end in zip(merged.segments, bounds, bounds[1:], strict=False):
        for name in (f"{context}_{part}_ms" for context in ("hot", "beside") for part in ALL):
            summed = sum(part.samples[name] for part in whole.segments[start:end])
            np.testing.assert_allclose(segment.samples[name], summed)
    assert (merged.values, merged.size_mb) == (whole.values, whole.size_mb)
    full, fewer = (SegmentedCosts([c], NONE).mean_ms(np.ones((1, 1 + len(c.segments))))
                   for c in (whole, merged))  # fmt: skip
    assert full.tolist() == pytest.approx(fewer.tolist())


# ---- distributions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reach",
    [
        (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        (1.0, 0.3, 0.3, 0.2, 0.0, 0.0),
        (1.0, 1.0, 0.7, 0.45, 0.3, 0.1),
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ],
    ids=str,
)
def test_draws_have_the_predicted_mean(reach: tuple[float, ...]) -> None:
    generator = np.random.default_rng(5)
    used = FrameOverheads(generator.gamma(4, 0.1, 300), generator.gamma(4, 0.05, 300))
    second = [(1.0, 0.25, 9.0), (0.0, 0.0, 6.0)]
    costs = SegmentedCosts([chain(0, THREE), chain(1, second, LARGE)], used)
    draws = costs.draws(np.array(reach))
    assert len(draws) == pytest.approx(2000, abs=6)
    error = 4 * draws.std() / np.sqrt(len(draws))
    assert draws.mean() == pytest.approx(mean_ms(costs, *reach), abs=error)
    assert np.array_equal(draws, costs.draws(np.array(reach))), "the same plan, the same figures"


def test_percentiles_are_of_the_mixture() -> None:
    costs = SegmentedCosts([chain(0, [(1.0, 0.25, 1.0), (0.0, 0.0, 50.0)])], NONE)
    rare = costs.percentiles(np.array([1.0, 1.0, 0.02]))
    often = costs.percentiles(np.array([1.0, 1.0, 0.3]))
    assert rare["latency_p95_ms"] < 6
    assert often["latency_p95_ms"] > 30
    assert often["latency_p50_ms"] < 6


@pytest.mark.parametrize(
    ("count", "known"),
    [(1, "50"), (63, "50"), (64, "50 90"), (129, "50 90"), (130, "50 90 95"),
     (661, "50 90 95"), (662, "50 90 95 99")],
)  # fmt: skip
@pytest.mark.parametrize("scarce", ["first", "second", "thumbnails", "learning"])
def test_percentiles_need_samples_of_every_step(count: int, known: str, scarce: str) -> None:
    many = np.ones(700)
    used = {"thumbnails": many, "learning": many}
    if scarce in used:
        used[scarce] = np.ones(count)
    rounds = {name: count if scarce == name else 700 for name in ("first", "second")}
    costs = SegmentedCosts(
        [chain(0, THREE, rounds=rounds["first"]), chain(1, fmt=LARGE, rounds=rounds["second"])],
        FrameOverheads(**used),
    )
    reach = np.array([1.0, 0.9, 0.5, 0.4, 0.2])
    expected = {f"latency_p{percentile}_ms" for percentile in known.split()}
    assert set(costs.percentiles(reach)) == expected
    found = costs.known(reach)
    assert {name for name in found if name.startswith("latency_p")} == expected
    assert found["latency_mean_ms"] == pytest.approx(float(costs.mean_ms(reach[None])[0]))


# ---- what no threshold changes -----------------------------------------------------------------


def test_fixed_costs_of_one_chain_are_those_of_its_process() -> None:
    found = SegmentedCosts([chain(0, THREE)], NONE).fixed()
    assert found == {
        "load_ms": 30.0,
        "bundle_size_mb": 4.0 + BUNDLE_OVERHEAD_MB,
        "peak_memory_mb": 75.0,
    }


def test_of_two_chains_the_peak_is_known_only_where_they_were_measured_together() -> None:
    chains = [chain(0, THREE), chain(1, fmt=LARGE)]
    apart = SegmentedCosts(chains, NONE).fixed()
    assert apart == {"load_ms": 60.0, "bundle_size_mb": 8.0 + BUNDLE_OVERHEAD_MB}
    together = SegmentedCosts(chains, NONE, {"load_ms": 41.0, "peak_mb": 90.0}).fixed()
    assert together == {**apart, "load_ms": 41.0, "peak_memory_mb": 90.0}
    alone = SegmentedCosts(chains[:1], NONE, {"peak_mb": 80.0}).fixed()
    assert (alone["peak_memory_mb"], alone["load_ms"]) == (80.0, 30.0)


def test_memory_is_absent_where_it_was_not_measured() -> None:
    found = SegmentedCosts([chain(0, values={"load_ms": 1.0})], NONE).fixed()
    assert set(found) == {"load_ms", "bundle_size_mb"}


def test_a_correction_moves_time_and_memory_of_plans_with_so_many_stages() -> None:
    chains, reach = [chain(0, THREE), chain(1, fmt=LARGE)], np.array([1.0, 0.9, 0.5, 0.4, 0.2])
    models = {
        "latency_mean_ms": {"base": np.log(1.1), "per_further_stage": np.log(1.2)},
        "peak_memory_mb": {"base": np.log(0.5)},
    }
    together = {"peak_mb": 90.0}
    plain = SegmentedCosts(chains, overheads(0.5, 0.1), together)
    moved = SegmentedCosts(chains, overheads(0.5, 0.1), together, Correction(models))
    after = moved.known(reach)
    assert {"latency_mean_ms", "latency_p95_ms", "peak_memory_mb"} <= after.keys()
    for name, value in plain.known(reach).items():
        timed = name.startswith("latency_")
        factor = 1.1 * 1.2 if timed else 0.5 if name == "peak_memory_mb" else 1.0
        assert after[name] == pytest.approx(value * factor), name
    assert moved.step_ms() == pytest.approx([1.32 * step for step in plain.step_ms()])


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_runs_whole_costs_what_it_costs_as_a_plan_without_exits(seed: int) -> None:
    one, two = chain(seed, rounds=700), chain(seed + 9, [(1.0, 0.25, 9.0)], LARGE, rounds=700)
    steps, paths = SegmentedCosts([one], NONE), CascadeCosts(one.segments)
    assert steps.known(np.ones(2)) == pytest.approx(paths.known(np.ones(1)))
    cascade, plain = SegmentedCosts([one, two], NONE), CascadeCosts(one.segments + two.segments)
    for share in (0.0, 0.3, 1.0):
        expected = plain.mean_ms(np.array([[1.0, share]]))
        assert mean_ms(cascade, 1.0, 1.0, share) == pytest.approx(float(expected[0]))
