"""What verified plans teach about predictions, and when it is believed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trimtab.search.costs.correction import Correction, Pair, learn


def pairs(base: float, further: float, noise: float = 0.0, count: int = 9) -> list[Pair]:
    """Plans of one to three stages, measured exp(base + further * (stages - 1)) of predicted."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        stages = 1 + number % 3
        predicted = 5.0 + number
        error = math.exp(base + further * (stages - 1) + noise * generator.standard_normal())
        found.append(Pair(stages, predicted, predicted * error))
    return found


def test_a_common_error_is_learned_and_held_out_plans_are_predicted_better() -> None:
    found = learn(pairs(0.10, -0.05), {})
    assert found is not None and found.plans == 9
    assert found.error_before == pytest.approx(math.expm1(0.05), abs=0.02)
    assert found.error_held_out < 0.5 * found.error_before
    correction = Correction({"latency_mean_ms": found.model})
    for stages in (1, 2, 3):
        truth = math.exp(0.10 - 0.05 * (stages - 1))
        assert correction.factor("latency_mean_ms", stages) == pytest.approx(truth, rel=0.03)
    assert correction.factor("latency_p95_ms", 2) == correction.factor("latency_mean_ms", 2)
    assert correction.factor("peak_memory_mb", 2) == 1.0


def test_what_helps_no_held_out_plan_is_not_believed() -> None:
    plans = [Pair(1, 1.0, math.exp(e)) for e in (0.05, -0.05, 0.05, -0.05, 0.05, -0.05)]
    found = learn(plans, {"base": 0.3})
    assert found is not None
    assert found.model == {"base": 0.3, "per_further_stage": 0.0}  # the prior stays
    assert found.error_held_out == found.error_before == pytest.approx(0.05, abs=0.002)


def test_what_is_left_is_added_to_the_prior() -> None:
    known = {"base": 0.2, "per_further_stage": 0.1}
    found, fresh = learn(pairs(0.1, 0.0), known), learn(pairs(0.1, 0.0), {})
    assert found is not None and fresh is not None
    for name, value in known.items():
        assert found.model[name] == pytest.approx(value + fresh.model[name])


def test_few_plans_teach_nothing() -> None:
    assert learn(pairs(0.1, 0.0, count=3), {}) is None
    assert Correction().factor("latency_mean_ms", 3) == 1.0
