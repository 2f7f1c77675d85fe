"""A budget is held under load, on simulated latencies: no clock, no model, nothing to wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.errors import BundleError
from trimtab_runtime.plans.tracking import WINDOW, Tracker, Tracking, best_within

Array = np.ndarray[Any, np.dtype[np.float64]]

#: A cascade of two stages at sixteen points: which share of the inputs comes to the second, and
#: what the stages take.
REACH = np.linspace(0.0, 1.0, 16)
STAGES_MS = (8.0, 40.0)
POINTS = [
    OperatingPoint(
        (float(share),), {"latency_mean_ms": STAGES_MS[0] + float(share) * STAGES_MS[1]}
    )
    for share in REACH
]
BUDGET_MS = 24.0


@dataclass
class Simulated:
    """A device that runs the cascade: `load` multiplies what an answer takes, by its number;
    `harder` the share of inputs that the second stage gets; `slower` what each stage takes."""

    load: Callable[[int], float] = lambda number: 1.0
    harder: float = 1.0
    slower: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.04
    seed: int = 0
    answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def answer(self, point: OperatingPoint) -> tuple[int, float]:
        """The stage where an input stops, and the latency in ms."""
        stage = int(self.random.random() < point.thresholds[0] * self.harder)
        work = STAGES_MS[0] * self.slower[0] + stage * STAGES_MS[1] * self.slower[1]
        self.answers += 1
        factor = self.load(self.answers - 1) * np.exp(self.random.normal(0.0, self.noise))
        return stage, float(work * factor)


def latencies(device: Simulated, tracker: Tracker, count: int) -> Array:
    found = []
    for _ in range(count):
        found.append(device.answer(tracker.point))
        tracker.step(*found[-1])
    return np.array([latency for _, latency in found])


def held(found: Array) -> float:
    """The share of windows of 50 answers that take at most 1.1 budgets on average."""
    windows = found[: len(found) // 50 * 50].reshape(-1, 50).mean(1)
    return float((windows <= 1.1 * BUDGET_MS).mean())


def phases(number: int) -> float:
    """A second process takes half of the core for every other thousand answers."""
    return 1.0 + number // 1000 % 2


CONDITIONS = {
    "as predicted": Simulated(),
    "harder inputs": Simulated(harder=1.5),
    "another device": Simulated(slower=(1.3, 1.5)),
    "an easier workload": Simulated(harder=0.5),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_without_load_the_budget_is_used_and_held(name: str) -> None:
    found = latencies(CONDITIONS[name], Tracker(POINTS, BUDGET_MS), 6000)[500:]
    assert 0.9 * BUDGET_MS < found.mean() < 1.02 * BUDGET_MS
    assert held(found) > 0.9


def test_under_load_that_comes_and_goes() -> None:
    tracker = Tracker(POINTS, BUDGET_MS)
    found = latencies(Simulated(phases), tracker, 8000)
    fixed = best_within(POINTS, {"latency_mean_ms": BUDGET_MS})
    device = Simulated(phases)
    untracked = np.array([device.answer(fixed)[1] for _ in range(8000)])
    assert held(found) > 0.93
    assert held(untracked) < 0.7
    for phase in found.reshape(8, 1000):
        assert 0.85 * BUDGET_MS < phase[50:].mean() < 1.05 * BUDGET_MS
        assert phase[:50].mean() < 1.5 * BUDGET_MS, "the change itself costs little"
    assert tracker.state.slowdown == pytest.approx(2.0, rel=0.15)


def test_answers_that_wait_for_another_process_count() -> None:
    """One answer in four waits for a slice of the scheduler: most are as fast as ever."""
    generator = np.random.default_rng(5)
    waits = Simulated(lambda number: 4.0 if generator.random() < 0.25 else 1.0)
    tracker = Tracker(POINTS, BUDGET_MS)
    found = latencies(waits, tracker, 8000)[500:]
    assert 0.85 * BUDGET_MS < found.mean() < 1.05 * BUDGET_MS
    assert tracker.state.slowdown == pytest.approx(1.75, rel=0.25)


def test_one_outlier_moves_nothing() -> None:
    """The same answers twice, once with spikes: the same points, the same state."""
    random = np.random.default_rng(1)
    calm, spiked = Tracker(POINTS, BUDGET_MS), Tracker(POINTS, BUDGET_MS)
    for number in range(400):
        stage = int(random.random() < calm.point.thresholds[0])
        latency = 8.0 + 40.0 * stage
        spike = 50.0 if number in (100, 200, 333) else 1.0
        assert calm.step(stage, latency) is spiked.step(stage, spike * latency)
    assert calm.state == spiked.state
    assert calm.state.moves > 10


def test_the_first_answer_of_a_process_may_be_slow() -> None:
    tracker = Tracker(POINTS, BUDGET_MS)
    device = Simulated(lambda number: 20.0 if number == 0 else 1.0, noise=0.0)
    latencies(device, tracker, 600)
    assert tracker.state.slowdown == pytest.approx(1.0, rel=0.1)


def test_the_load_is_followed_within_a_window() -> None:
    tracker, device = Tracker(POINTS, BUDGET_MS), Simulated(lambda n: 1.0 + 1.5 * (n >= 400))
    latencies(device, tracker, 400)
    before = tracker.state
    latencies(device, tracker, WINDOW)
    after = tracker.state
    assert after.slowdown / before.slowdown == pytest.approx(2.5, rel=0.15)
    assert tracker.point.metrics["latency_mean_ms"] * 2.5 < 1.1 * BUDGET_MS


def test_nothing_moves_before_a_window_was_seen() -> None:
    tracker = Tracker(POINTS, BUDGET_MS)
    points = [tracker.step(0, 800.0) for _ in range(WINDOW)]
    assert all(point is POINTS[6] for point in points[:-1])
    assert points[-1] is POINTS[0]


def test_where_even_the_fastest_point_is_too_slow() -> None:
    """It says so, stays there, and comes back at once when the load leaves: no windup."""
    tracker, device = Tracker(POINTS, BUDGET_MS), Simulated(lambda n: 10.0 if n < 2000 else 1.0)
    latencies(device, tracker, 2000)
    state = tracker.state
    assert tracker.point is POINTS[0]
    assert not state.fits
    assert state.expected_ms == pytest.approx(80.0, rel=0.1)
    latencies(device, tracker, 3 * WINDOW)
    assert tracker.state.fits
    assert latencies(device, tracker, 500).mean() > 0.85 * BUDGET_MS


def test_what_cannot_be_spent_is_not_saved_up() -> None:
    """Far below the budget for long: when load comes, the budget is that of now."""
    tracker, device = Tracker(POINTS, 60.0), Simulated(lambda n: 1.0 if n < 2000 else 2.0)
    latencies(device, tracker, 2000)
    assert tracker.point is POINTS[-1]
    assert latencies(device, tracker, 100)[WINDOW:].mean() < 1.15 * 60.0


def test_units_do_not_matter() -> None:
    """Everything four times as slow, the budget too: the same moves."""
    slow = [
        OperatingPoint(p.thresholds, {"latency_mean_ms": 4 * p.metrics["latency_mean_ms"]})
        for p in POINTS
    ]
    one, other = Tracker(POINTS, BUDGET_MS), Tracker(slow, 4 * BUDGET_MS)
    device = Simulated(phases)
    for _ in range(3000):
        stage, latency = device.answer(one.point)
        moved = one.step(stage, latency), other.step(stage, 4 * latency)
        assert moved[0].thresholds == moved[1].thresholds
    assert one.state.moves == other.state.moves > 10


def test_a_plan_with_one_point_stays_there() -> None:
    tracker = Tracker(POINTS[:1], 10.0)
    for number in range(100):
        assert tracker.step(0, 5.0 + number) is POINTS[0]
    assert tracker.state.moves == 0
    assert not tracker.state.fits


def test_it_begins_where_the_predictions_say() -> None:
    shuffled = [OperatingPoint((0.3,)), *POINTS[::-1]]
    tracker = Tracker(shuffled, BUDGET_MS)
    assert tracker.point is POINTS[6]
    assert tracker.state == Tracking(BUDGET_MS, 1.0, 24.0, True, 0, 0)
    assert Tracker(POINTS, 1.0).point is POINTS[0]


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_a_time(budget: float) -> None:
    with pytest.raises(ValueError, match="0 < budget < infinity must hold"):
        Tracker(POINTS, budget)


def test_what_is_refused() -> None:
    with pytest.raises(BundleError, match="carry no latency"):
        Tracker([OperatingPoint((0.5,), {"top1": 0.5})], 5.0)
    for latency in (0.0, -2.0, float("nan")):
        with pytest.raises(ValueError, match="0 < latency < infinity must hold"):
            Tracker(POINTS, 5.0).step(0, latency)


# ---- the best point within limits --------------------------------------------------------------


def limited(*metrics: tuple[float, float, float]) -> Sequence[OperatingPoint]:
    """Points of (mean, p95, energy)."""
    names = ("latency_mean_ms", "latency_p95_ms", "energy_mean_mj")
    return [OperatingPoint((), dict(zip(names, values, strict=True))) for values in metrics]


def test_every_limit_must_hold() -> None:
    points = limited((1.0, 5.0, 9.0), (2.0, 4.0, 8.0), (3.0, 20.0, 7.0))
    for limits, expected in (
        ({"latency_mean_ms": 2.5}, 1),
        ({"latency_p95_ms": 4.5}, 1),
        ({"latency_p95_ms": 100.0}, 2),
        ({"latency_p95_ms": 5.0, "latency_mean_ms": 1.5}, 0),
        ({"energy_mean_mj": 7.5}, 2),
        ({"energy_mean_mj": 7.5, "latency_p95_ms": 6.0}, 0),  # none holds both: the fastest
        ({"latency_p95_ms": 1.0}, 0),
    ):
        assert best_within(points, limits) is points[expected], limits


def test_a_point_that_predicts_no_percentile_is_not_within_it() -> None:
    points = [*limited((1.0, 5.0, 9.0)), OperatingPoint((), {"latency_mean_ms": 2.0})]
    assert best_within(points, {"latency_p95_ms": 6.0}) is points[0]
    assert best_within(points, {"latency_mean_ms": 6.0}) is points[1]


def test_limits_are_costs_that_are_predicted() -> None:
    points = limited((1.0, 5.0, 9.0))
    with pytest.raises(ValueError, match="top1 is no cost"):
        best_within(points, {"top1": 0.9})
    with pytest.raises(ValueError, match="unknown metric 'latency_p96_ms'"):
        best_within(points, {"latency_p96_ms": 3.0})
    with pytest.raises(BundleError, match="carry no latency_p99_ms"):
        best_within(points, {"latency_p99_ms": 3.0})
