"""Latency, percentiles, memory and size of plans from measured parts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Correction
from trimtab.search.costs.metrics import BUNDLE_OVERHEAD_MB
from trimtab.search.costs.pace import CommonPace, pace_ms
from trimtab.search.costs.stage import StageCost, Visit
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions

SMALL = InputFormat((96, 96), mean=(127.0,), std=(128.0,))
LARGE = InputFormat((224, 224), mean=(127.0,), std=(128.0,))
ONNX, LITE = RuntimeOptions("onnxruntime"), RuntimeOptions("litert")
MEMORY = {
    "start_mb": 40.0,
    "engine_mb": 20.0,
    "resident_mb": 10.0,
    "load_transient_mb": 5.0,
    "run_transient_mb": 2.0,
    "peak_mb": 75.0,
}


def stage(
    seed: int,
    inference_ms: float,
    fmt: InputFormat = SMALL,
    options: RuntimeOptions = ONNX,
    rounds: int = 200,
    **values: float,
) -> StageCost:
    """A stage with skewed times; beside another it is slower by a fifth."""
    generator = np.random.default_rng(seed)
    samples = {}
    for context, slower, count in (("hot", 1.0, 4 * rounds), ("beside", 1.2, rounds)):
        for part, mean in (("resize", 1.0), ("tensor", 0.25), ("inference", inference_ms)):
            samples[f"{context}_{part}_ms"] = mean * slower * generator.gamma(20, 1 / 20, count)
    return StageCost(fmt, options, {"load_ms": 30.0, **MEMORY, **values}, samples, 4.0)


def parts(cost: StageCost, context: str, *names: str) -> float:
    return sum(float(cost.samples[f"{context}_{name}_ms"].mean()) for name in names)


ALL = ("resize", "tensor", "inference")


def test_a_single_stage_costs_what_it_costs_hot() -> None:
    one = stage(0, 5.0)
    found = CascadeCosts([one])
    assert found.mean_ms(np.ones((1, 1))).tolist() == pytest.approx([parts(one, "hot", *ALL)])
    assert found.stage_ms() == pytest.approx([parts(one, "hot", *ALL)])


def test_the_first_stage_is_hot_or_beside_as_the_input_before_left_it() -> None:
    one, two = stage(0, 5.0), stage(1, 9.0, LARGE)
    found = CascadeCosts([one, two])
    hot, beside = parts(one, "hot", *ALL), parts(one, "beside", *ALL)
    second = parts(two, "beside", *ALL)
    reach = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.25]])
    expected = [hot, beside + second, 0.75 * hot + 0.25 * beside + 0.25 * second]
    assert found.mean_ms(reach).tolist() == pytest.approx(expected)
    assert found.stage_ms() == pytest.approx([hot, second])


@pytest.mark.parametrize(
    ("change", "paid"),
    [
        ({}, ("inference",)),
        ({"mean": (0.0,)}, ("tensor", "inference")),
        ({"layout": "nhwc"}, ("tensor", "inference")),
        ({"colour": "bgr"}, ("tensor", "inference")),
        ({"size": (128, 128)}, ALL),
        ({"resize": "box"}, ALL),
        ({"crop": 0.875}, ALL),
        ({"colour": "gray"}, ALL),
    ],
    ids=str,
)
def test_what_an_earlier_stage_did_is_not_paid_again(
    change: dict[str, Any], paid: tuple[str, ...]
) -> None:
    one = stage(0, 5.0)
    two = stage(1, 9.0, dataclasses.replace(SMALL, **change))
    between = stage(2, 7.0, LARGE)
    assert CascadeCosts([one, two]).stage_ms()[1] == pytest.approx(parts(two, "beside", *paid))
    far = CascadeCosts([one, between, two]).stage_ms()
    assert far[1] == pytest.approx(parts(between, "beside", *ALL))
    assert far[2] == pytest.approx(parts(two, "beside", *paid))


@pytest.mark.parametrize("reach", [[1.0], [1.0, 0.3], [1.0, 0.6, 0.35], [1.0, 0.0], [1.0, 1.0]])
def test_draws_have_the_predicted_mean(reach: list[float]) -> None:
    stages = [stage(0, 5.0), stage(1, 9.0, LARGE), stage(2, 20.0)][: len(reach)]
    costs, share = CascadeCosts(stages), np.array(reach)
    draws = costs.draws(share)
    assert len(draws) == pytest.approx(2000, abs=3)
    error = 4 * draws.std() / np.sqrt(len(draws))
    assert draws.mean() == pytest.approx(costs.mean_ms(share[None])[0], abs=error)
    assert np.array_equal(draws, costs.draws(share)), "the same plan has the same figures"


def test_percentiles_are_of_the_mixture_not_sums_of_percentiles() -> None:
    one, two = stage(0, 5.0), stage(1, 50.0, LARGE)
    costs = CascadeCosts([one, two])
    rare = costs.percentiles(np.array([1.0, 0.02]))
    often = costs.percentiles(np.array([1.0, 0.3]))
    assert rare["latency_p95_ms"] < 12
    assert often["latency_p95_ms"] > 50
    assert often["latency_p50_ms"] < 12


def test_percentiles_of_one_stage_are_those_of_its_samples() -> None:
    one = stage(0, 5.0, rounds=400)
    found = CascadeCosts([one]).percentiles(np.ones(1))
    for percentile in (50, 90, 95, 99):
        expected = float(np.percentile(one.total("hot"), percentile))
        assert found[f"latency_p{percentile}_ms"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("count", "known"),
    [(1, "50"), (63, "50"), (64, "50 90"), (129, "50 90"), (130, "50 90 95"),
     (661, "50 90 95"), (662, "50 90 95 99")],
)  # fmt: skip
@pytest.mark.parametrize("scarce", ["first beside", "second beside"])
def test_percentiles_need_samples(count: int, known: str, scarce: str) -> None:
    few, many = stage(0, 5.0, rounds=count), stage(1, 9.0, LARGE, rounds=700)
    stages = [few, many] if scarce == "first beside" else [many, few]
    expected = {f"latency_p{percentile}_ms" for percentile in known.split()}
    assert set(CascadeCosts(stages).percentiles(np.array([1.0, 0.5]))) == expected


def test_a_single_stage_counts_its_hot_samples() -> None:
    assert "latency_p90_ms" in CascadeCosts([stage(0, 5.0, rounds=16)]).percentiles(np.ones(1))
    assert "latency_p90_ms" not in CascadeCosts([stage(0, 5.0, rounds=15)]).percentiles(np.ones(1))


def test_fixed_costs_add_up() -> None:
    one = stage(0, 5.0, load_transient_mb=1.0, run_transient_mb=9.0)
    two = stage(1, 9.0, resident_mb=30.0, load_ms=12.0)
    lite = stage(2, 9.0, options=LITE, engine_mb=7.0, start_mb=41.0)
    assert CascadeCosts([one]).fixed() == pytest.approx(
        {
            "load_ms": 30.0,
            "bundle_size_mb": 4.0 + BUNDLE_OVERHEAD_MB,
            "peak_memory_mb": 40 + 20 + 10 + 9,
        }
    )
    assert CascadeCosts([one, two, lite]).fixed() == pytest.approx(
        {
            "load_ms": 30.0 + 12.0 + 30.0,
            "bundle_size_mb": 12.0 + BUNDLE_OVERHEAD_MB,
            # The largest start, each engine once, all that stays, the largest transient.
            "peak_memory_mb": 41 + (20 + 7) + (10 + 30 + 10) + 9,
        }
    )


def test_memory_is_absent_where_one_stage_was_not_measured() -> None:
    bare = dataclasses.replace(stage(0, 5.0), values={"load_ms": 1.0})
    assert set(CascadeCosts([stage(1, 9.0), bare]).fixed()) == {"load_ms", "bundle_size_mb"}


def visit(reference: float, *inference: float, **values: float) -> Visit:
    raw = {"0_hot_inference_ms": list(inference), "1_beside_inference_ms": [reference]}
    return Visit(values, {"reference_ms": [0.1, reference, reference, 90.0], **raw})


def test_visits_of_before_are_scaled_each_by_its_own_reference_and_joined() -> None:
    visits = [visit(2.0, 4.0, 6.0, load_ms=7.0, resident_mb=1.0), visit(4.0, 4.0, load_ms=9.0)]
    factors = CommonPace({"plain": 1.0}).factors(visits)
    found = StageCost.from_visits(SMALL, ONNX, 1.0, visits, factors)
    paces = [pace_ms(v.samples["reference_ms"]) for v in visits]
    expected = [4.0 / paces[0], 6.0 / paces[0], 4.0 / paces[1]]
    assert found.samples["hot_inference_ms"].tolist() == pytest.approx(expected)
    assert found.values == {"load_ms": 8.0}  # what all visits know
    second = StageCost.from_visits(SMALL, ONNX, 1.0, visits, factors, position=1)
    assert list(second.samples) == ["beside_inference_ms"]


def test_extremes_of_the_reference_do_not_count() -> None:
    assert pace_ms([0.5, 1.0, 2.0, 3.0, 90.0]) == 2.0


def test_what_was_measured_together_replaces_sums() -> None:
    stages = [stage(0, 5.0), stage(1, 9.0, LARGE)]
    summed = CascadeCosts(stages).fixed()
    found = CascadeCosts(stages, {"peak_mb": 70.0, "load_ms": 11.0}).fixed()
    assert (found["peak_memory_mb"], found["load_ms"]) == (70.0, 11.0)
    assert found["bundle_size_mb"] == summed["bundle_size_mb"]


def test_a_correction_moves_time_and_memory_of_plans_with_so_many_stages() -> None:
    stages, reach = [stage(0, 5.0), stage(1, 9.0, LARGE)], np.array([1.0, 0.5])
    models = {
        "latency_mean_ms": {"base": np.log(1.1), "per_further_stage": np.log(1.2)},
        "peak_memory_mb": {"base": np.log(0.5)},
    }
    plain, moved = CascadeCosts(stages), CascadeCosts(stages, correction=Correction(models))
    before, after = plain.known(reach), moved.known(reach)
    for name, value in before.items():
        timed = name.startswith("latency_")
        factor = 1.1 * 1.2 if timed else 0.5 if name == "peak_memory_mb" else 1.0
        assert after[name] == pytest.approx(value * factor), name
    assert moved.stage_ms() == pytest.approx([ms * 1.32 for ms in plain.stage_ms()])
    single = CascadeCosts(stages[:1], correction=Correction(models)).mean_ms(np.ones((1, 1)))
    assert single[0] == pytest.approx(1.1 * CascadeCosts(stages[:1]).mean_ms(np.ones((1, 1)))[0])


def test_energy_is_paid_by_the_inputs_that_reach_a_stage() -> None:
    stages = [stage(0, 5.0, energy_mj=10.0), stage(1, 9.0, LARGE, energy_mj=30.0)]
    reach = np.array([[1.0, 0.0], [1.0, 0.5]])
    found = CascadeCosts(stages).mean_value("energy_mj", reach)
    assert found is not None and found.tolist() == [10.0, 25.0]
    assert CascadeCosts(stages).known(reach[1])["energy_mean_mj"] == 25.0
    unknown = CascadeCosts([stages[0], stage(1, 9.0, LARGE)])
    assert unknown.mean_value(
        "energy_mj", reach
    ) is None and "energy_mean_mj" not in unknown.known(reach[1])
