"""Holding a latency budget while the load changes: measured latency in, operating point out.

A model says what each point would take now, and an integrator what the budget still allows.

The *model* is multiplicative, as the global slow-down factor of ALERT (Wan et al., USENIX ATC
2020): load makes everything slower by one factor, so a point takes its predicted latency times a
slow-down, which is the product of two ratio estimates (Cochran, Sampling Techniques, 1977,
chapter 6):

    pace = sum of latencies / sum of what their paths take at pace 1   over the last WINDOW answers
    mix  = sum of what paths take at pace 1 / sum of predictions       over about MEMORY answers

Answers are told apart by the path that their input took, so the pace follows the load within a few
of them although one may take several times as long as the next. In the long run what paths take
cancels, and measured over predicted latency remains: harder inputs and another device are learned.

The *integrator* keeps what answers left of the budget, or overdrew, over about HORIZON answers
(integral control of application knobs: PowerDial, Hoffmann et al., ASPLOS 2011), so that chance
runs of hard inputs are paid back. It is bounded by LEEWAY, and stands still at the ends of the
family (against windup: Astrom & Hagglund, Advanced PID Control, 2006, chapter 3).

The slowest answer of the window counts as the second slowest (a winsorised mean: Dixon, Annals of
Mathematical Statistics 31, 1960): one outlier moves nothing, an answer in ten that waits counts.

No clock, no thread, no device: a tracker is fed with latencies, simulated ones as well.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.errors import BundleError
from trimtab_runtime.metrics import find_metric

#: Answers that tell the pace, and after which a tracker begins to move.
WINDOW = 16
#: Answers over which the mix of paths, and what a path takes, are averaged (exponentially).
MEMORY = 256
#: Answers over which the budget is to be met, and the most that is paid back in one of them, as a
#: fraction of the budget.
HORIZON, LEEWAY = 25, 0.3
#: What must be to spare before a slower point is taken, as a fraction of what is allowed.
MARGIN = 0.05
_LATENCY = "latency_mean_ms"


@dataclass(frozen=True)
class Tracking:
    """How a budget is being held. `slowdown` is measured relative to predicted latency as things
    stand, `expected_ms` what the point in force then takes on average; `fits` says whether the
    fastest point would be within `budget_ms`. `answers` were seen, and the point was moved
    `moves` times."""

    budget_ms: float
    slowdown: float
    expected_ms: float
    fits: bool
    answers: int
    moves: int


class _Path:
    """What inputs that take one path cost at pace 1, and how often it was taken."""

    __slots__ = ("ms", "visits")

    def __init__(self, ms: float) -> None:
        self.ms, self.visits = ms, 0


class Tracker:
    """Chooses, after every answer, the best of `points` that the budget allows now; the fastest
    where it allows none.

    Of two points the one with the higher predicted mean latency is taken to be the better: a
    family is a front. It begins at the best point predicted to be within `budget_ms` on average,
    and does not move before WINDOW answers. Raises BundleError where no point has a predicted
    latency, ValueError unless the budget is above 0.
    """

    def __init__(self, points: Sequence[OperatingPoint], budget_ms: float) -> None:
        if not 0.0 < budget_ms < inf:
            raise ValueError(f"0 < budget < infinity must hold, got {budget_ms} ms")
        self._points = by_latency(points)
        self._means = [point.metrics[_LATENCY] for point in self._points]
        self._budget_ms = budget_ms
        self._paths: dict[Hashable, _Path] = {}
        self._measured: deque[float] = deque(maxlen=WINDOW)
        self._expected: deque[float] = deque(maxlen=WINDOW)
        self._ratios: deque[float] = deque(maxlen=WINDOW)
        self._taken = self._predicted = self._credit_ms = 0.0
        self._pace = self._slowdown = 1.0
        self._answers = self._moves = 0
        self._number = self._best(budget_ms)

    @property
    def point(self) -> OperatingPoint:
        """The point to be in force for the next answer."""
        return self._points[self._number]

    @property
    def state(self) -> Tracking:
        """How the budget is being held."""
        return Tracking(
            self._budget_ms,
            self._slowdown,
            self._means[self._number] * self._slowdown,
            self._means[0] * self._slowdown <= self._budget_ms,
            self._answers,
            self._moves,
        )

    def step(self, path: Hashable, latency_ms: float) -> OperatingPoint:
        """Take in the latency of an answer that was given at :attr:`point`, and the `path` that
        its input took (whatever tells paths apart). Returns the point for the next one.

        Raises ValueError unless the latency is above 0.
        """
        if not 0.0 < latency_ms < inf:
            raise ValueError(f"0 < latency < infinity must hold, got {latency_ms} ms")
        self._answers += 1
        counted_ms = self._learn(path, latency_ms)
        self._book(self._budget_ms - counted_ms)
        if self._answers >= WINDOW:
            self._move()
        return self.point

    def _learn(self, name: Hashable, latency_ms: float) -> float:
        """Renew the model. Returns the latency as it counts."""
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = _Path(latency_ms / self._pace)
        self._measured.append(latency_ms)
        self._expected.append(path.ms)
        self._ratios.append(latency_ms / path.ms)
        limit = self._renew_pace()
        counted_ms = min(latency_ms, limit * path.ms)
        path.visits += 1
        path.ms += (counted_ms / self._pace - path.ms) * max(1.0 / path.visits, 1.0 / MEMORY)
        keep = 1.0 - 1.0 / MEMORY
        self._taken = keep * self._taken + path.ms
        self._predicted = keep * self._predicted + self._means[self._number]
        self._slowdown = self._pace * self._taken / self._predicted
        return counted_ms

    def _renew_pace(self) -> float:
        """Returns the largest ratio of measured to expected latency that counts."""
        ratios = sorted(self._ratios)
        slowest, limit = ratios[-1], ratios[-2:][0]
        excess_ms = (slowest - limit) * self._expected[self._ratios.index(slowest)]
        self._pace = (sum(self._measured) - excess_ms) / sum(self._expected)
        return limit

    def _book(self, left_ms: float) -> None:
        """Keep what an answer left of the budget, unless there is no point left to spend it on,
        or to pay it back with."""
        credit, most = self._credit_ms * (1.0 - 1.0 / HORIZON), LEEWAY * HORIZON * self._budget_ms
        end = len(self._points) - 1 if left_ms > 0 else 0
        if self._number != end:
            credit = min(max(credit + left_ms, -most), most)
        self._credit_ms = credit

    def _move(self) -> None:
        allowed = (self._budget_ms + self._credit_ms / HORIZON) / self._slowdown
        best = self._best(allowed)
        if best > self._number:
            best = max(self._number, self._best(allowed * (1.0 - MARGIN)))
        if best != self._number:
            self._number, self._moves = best, self._moves + 1

    def _best(self, allowed_ms: float) -> int:
        """The slowest point predicted to take at most so long, else the fastest."""
        return max(bisect_right(self._means, allowed_ms) - 1, 0)


def best_within(points: Sequence[OperatingPoint], limits: Mapping[str, float]) -> OperatingPoint:
    """The slowest of `points` that is predicted to stay within all `limits`, by the names of
    costs (metrics.py), else the fastest. A point that does not predict a cost is not within it.

    Raises ValueError for a name that is no cost, BundleError where no point predicts it.
    """
    for name in limits:
        if find_metric(name).kind != "cost":
            raise ValueError(f"{name} is no cost, so it is no limit of an operating point")
    known = by_latency(points)
    for name in limits:
        if not any(name in point.metrics for point in known):
            raise BundleError(f"the bundled operating points carry no {name}")

    def holds(point: OperatingPoint) -> bool:
        return all(point.metrics.get(name, inf) <= most for name, most in limits.items())

    return next((point for point in reversed(known) if holds(point)), known[0])


def by_latency(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points that have a predicted mean latency, the lowest first. Raises BundleError where
    there is none."""
    known = [point for point in points if _LATENCY in point.metrics]
    if not known:
        raise BundleError("the bundled operating points carry no latency")
    return sorted(known, key=lambda point: point.metrics[_LATENCY])
