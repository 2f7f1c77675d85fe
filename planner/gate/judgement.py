"""From answers and times to findings: what is worse beyond noise.

What did not change answers the same, so that accuracy cannot fail it; its latency is wrongly
called worse in 1 of 100 checks at most, memory must be worse twice, and size has no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student

from trimtab.planner.gate.findings import Finding, Limits, Verdict
from trimtab.search.estimates.cluster_bootstrap import block_interval

#: Probability of calling the accuracy of another model worse that is not (its 95 % interval then
#: excludes zero); the same of latency, over all looks at it.
ACCURACY_ALPHA, LATENCY_ALPHA = 0.025, 0.01
#: Probability of not looking again at a latency that is too long.
_BETA = 0.05

Bools = NDArray[np.bool_]


def accuracy(shipped: Bools, new: Bools, blocks: NDArray[np.int64], limits: Limits) -> Finding:
    """Which answers of each are right, (n,), on the same images; those of a block of `blocks` (n,)
    depend on each other. Worse: the exact test of blocks that lost against blocks that gained
    (McNemar's, where each image is its own block)."""
    change = new.astype(np.int64) - shipped.astype(np.int64)
    _, of = np.unique(blocks, return_inverse=True)
    net = np.bincount(of.reshape(-1), weights=change)
    lost, won = int((net < 0).sum()), int((net > 0).sum())
    chance = float(binomtest(lost, lost + won, alternative="greater").pvalue) if lost else 1.0
    points = 100.0 * float(change.mean())
    worse = chance < ACCURACY_ALPHA and points < -limits.points
    interval = block_interval(change.astype(np.float64), blocks)
    span = ""
    if interval is not None:
        low, high = (100 * edge for edge in interval)
        span = f" (95 % CI {low:+.1f} to {high:+.1f})"
    wrong, right = int((change < 0).sum()), int((change > 0).sum())
    told = (
        f"{points:+.1f} points{span}; {wrong} of {len(change)} images newly wrong, "
        f"{right} newly right"
    )
    details = {
        "points": points,
        "newly_wrong": wrong,
        "newly_right": right,
        "images": len(change),
        "p": chance,
    }
    return Finding(
        "accuracy",
        "%",
        100 * float(shipped.mean()),
        100 * float(new.mean()),
        told,
        "worse" if worse else "ok",
        details,
    )


#: Sittings that say how much sittings scatter.
_FEWEST = 2


@dataclass(frozen=True)
class SlowerTest:
    """Whether something is slower than may be: Student's t over sittings, each with processes of
    its own, of which each gives one logarithm of a ratio of times. It is looked at up to `looks`
    times, which share the probability of a false alarm."""

    allowed: float
    looks: int
    alpha: float = LATENCY_ALPHA

    def decided(self, logs: Sequence[float]) -> bool:
        """Whether more sittings are not needed; of one alone nothing is known."""
        if len(logs) < _FEWEST:
            return False
        return self.slower(logs) or self._excess(logs) < -self._level(logs, 1 - _BETA)

    def slower(self, logs: Sequence[float]) -> bool:
        """Whether the mean of `logs` (sittings,) is beyond what may be and what chance gives."""
        return self._excess(logs) > self._level(logs, 1 - self.alpha / self.looks)

    def interval(self, logs: Sequence[float]) -> tuple[float, float, float]:
        """The ratio of times with its 95 % interval."""
        half = self._level(logs, 0.975) * _error(logs)
        middle = float(np.mean(logs))
        return math.exp(middle), math.exp(middle - half), math.exp(middle + half)

    def _excess(self, logs: Sequence[float]) -> float:
        """In standard errors."""
        over = float(np.mean(logs)) - math.log1p(self.allowed)
        error = _error(logs)
        if error > 0:
            return over / error
        return math.copysign(math.inf, over) if over else 0.0

    def _level(self, logs: Sequence[float], share: float) -> float:
        return float(student.ppf(share, len(logs) - 1))


def _error(logs: Sequence[float]) -> float:
    """The standard error of a mean. What differs in the last digits alone does not differ."""
    found = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return found if found > 1e-9 else 0.0


def typical_ms(latency_ms: NDArray[np.float64], ways: NDArray[np.int64]) -> float:
    """The mean latency of answers, (n,), as it is where nobody else works: of each way through the
    plan (`ways` (n, fields) says which an answer took) the lower quartile, which answers that were
    held up do not move, times the share of answers that took it."""
    _, way = np.unique(ways, axis=0, return_inverse=True)
    way = way.reshape(-1)
    parts = [latency_ms[way == number] for number in range(int(way.max()) + 1)]
    return float(sum(len(part) * np.percentile(part, 25) for part in parts) / len(latency_ms))


def latency(
    logs: Sequence[float], shipped_ms: float, test: SlowerTest, disturbed: bool
) -> Finding:
    """Of sittings that took turns, and the milliseconds that the shipped one takes."""
    ratio, low, high = test.interval(logs)
    told = f"{ratio - 1:+.1%} (95 % CI {low - 1:+.1%} to {high - 1:+.1%}), {len(logs)} sittings"
    if disturbed:
        told += ", disturbed"
    details = {"ratio": ratio, "low": low, "high": high, "sittings": len(logs)}
    verdict: Verdict = "worse" if test.slower(logs) else "ok"
    return Finding("latency", "ms", shipped_ms, shipped_ms * ratio, told, verdict, details)


def memory(
    shipped: Sequence[float | None], new: Sequence[float | None], limits: Limits
) -> Finding:
    """Of peaks in MB, one of each process: the least, for what a process needs it needs each
    time."""
    known = [[peak for peak in peaks if peak is not None] for peaks in (shipped, new)]
    if not all(known):
        text = "the device does not tell"
        return Finding("memory", "MB", None, None, text, "unknown")
    return _grown("memory", min(known[0]), min(known[1]), limits.memory)


def size(shipped_mb: float, new_mb: float, limits: Limits) -> Finding:
    """Of the two files."""
    return _grown("size", shipped_mb, new_mb, limits.size)


def _grown(name: str, shipped: float, new: float, allowed: float) -> Finding:
    share = new / shipped - 1
    verdict: Verdict = "worse" if share > allowed else "ok"
    return Finding(name, "MB", shipped, new, f"{share:+.1%}", verdict, {"share": share})
