"""Which regions of a network to replace together, and what that is predicted to lose.

What a set of replacements saves is the sum of what the device measured for each; what it loses is
predicted from the errors of their blocks by a regression that learns with every set that is built.
(Choosing what to merge from a table of latencies measured on the target: Kim et al., Efficient
latency-aware CNN depth compression via two-stage dynamic programming, ICML 2023.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import scipy
from numpy.typing import NDArray

from trimtab.search.objectives.pareto import non_dominated

#: Disagreement with the original (fraction of answers) up to which sets are built, mildest first.
TOLERANCES = (0.01, 0.03, 0.06, 0.12)
#: Slimmed variants of one member, at most.
VARIANTS = len(TOLERANCES)
#: Disagreement for a block that leaves a tenth of its target's variance unexplained, as long as
#: nothing was built.
_PRIOR_DAMAGE, _PRIOR_LOST = 0.1, 0.03
#: Share of the least saving by which two sets must differ to be worth building both.
_ALIKE = 0.05
#: Prices of damage at which the best set is sought.
_PRICES = 40


@dataclass(frozen=True)
class Replacement:
    """A block for a region: milliseconds `saved_ms` as measured on the device, and `error`, the
    share of the region's variance that it does not explain once learned (1 - R2). `slot` is the
    same for replacements of which only one can be made, such as those of one region."""

    slot: int
    saved_ms: float
    error: float


@dataclass(frozen=True)
class Combination:
    """Numbers of replacements made together, with what all save (ms) and the sum of their
    errors."""

    chosen: tuple[int, ...]
    saved_ms: float
    damage: float


def best_combinations(
    replacements: Sequence[Replacement],
    conflicts: Collection[tuple[int, int]],
    trials: int,
    seed: int,
) -> list[Combination]:
    """Sets that no other beats in saving and damage, least damage first; never the empty one.

    `conflicts` are pairs (lower number first) that cannot stand together. NSGA-II proposes one
    replacement or none a slot, beginning with the sets that are best at some price of damage,
    that without a price included; of two in conflict the one proposed first in order stays.
    """
    found: dict[tuple[int, ...], Combination] = {}

    def tell(wanted: Sequence[int]) -> Combination:
        chosen = _without_conflicts(wanted, conflicts)
        if chosen not in found:
            found[chosen] = _combination(replacements, chosen)
        return found[chosen]

    slots = sorted({replacement.slot for replacement in replacements})
    members = {s: [n for n, r in enumerate(replacements) if r.slot == s] for s in slots}
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.NSGAIISampler(seed=seed, population_size=40),
    )
    for start in _best_at_prices(replacements, conflicts):
        tell(start)
        by_slot = {f"slot_{s}": next((n for n in start if n in members[s]), -1) for s in slots}
        study.enqueue_trial(by_slot)
    for _ in range(trials):
        trial = study.ask()
        picked = [trial.suggest_categorical(f"slot_{s}", [-1, *members[s]]) for s in slots]
        combination = tell([number for number in picked if number >= 0])
        study.tell(trial, [combination.saved_ms, combination.damage])
    tried = [combination for combination in found.values() if combination.chosen]
    costs = np.array([[c.damage, -c.saved_ms] for c in tried]).reshape(-1, 2)
    best = [c for c, keep in zip(tried, non_dominated(costs), strict=True) if keep]
    return sorted((c for c in best if c.saved_ms > 0), key=lambda c: c.damage)


def _combination(replacements: Sequence[Replacement], chosen: tuple[int, ...]) -> Combination:
    made = [replacements[number] for number in chosen]
    return Combination(chosen, sum(r.saved_ms for r in made), sum(r.error for r in made))


def _without_conflicts(
    wanted: Sequence[int], conflicts: Collection[tuple[int, int]]
) -> tuple[int, ...]:
    kept: list[int] = []
    for number in wanted:
        if not any((min(n, number), max(n, number)) in conflicts for n in kept):
            kept.append(number)
    return tuple(sorted(kept))


def _best_at_prices(
    replacements: Sequence[Replacement], conflicts: Collection[tuple[int, int]]
) -> list[tuple[int, ...]]:
    """Sets of the largest saving less damage at a price, for prices from none on: the corners of
    the front, exactly (as an integer programme)."""
    worth = [n for n, r in enumerate(replacements) if r.saved_ms > 0]
    if not worth:
        return []
    saved, error = (
        np.array([getattr(replacements[n], name) for n in worth]) for name in ("saved_ms", "error")
    )
    apart = _exclusions(worth, [replacements[n].slot for n in worth], conflicts)
    # A price a little below what one of them saves for its damage: that one is worth it.
    ratios = 0.999 * np.quantile(saved / (error + 1e-6), np.linspace(0, 1, _PRICES))
    found = []
    for price in (0.0, *ratios):
        solved = scipy.optimize.milp(
            price * error - saved, integrality=1, bounds=(0, 1), constraints=apart
        )
        found.append(tuple(n for n, taken in zip(worth, solved.x, strict=True) if taken > 0.5))
    return list(dict.fromkeys(found))


def _exclusions(
    numbers: Sequence[int], slots: Sequence[int], conflicts: Collection[tuple[int, int]]
) -> list[scipy.optimize.LinearConstraint]:
    """At most one of a slot, and of two in conflict."""
    rows = [np.isin(slots, [slot]) for slot in sorted(set(slots))]
    rows += [np.isin(numbers, pair) for pair in sorted(conflicts) if set(pair) <= set(numbers)]
    return [scipy.optimize.LinearConstraint(np.array(rows, np.float64), ub=1)]


class LossPredictor:
    """Predicts how many answers change (fraction) from a set's damage: Bayesian linear regression
    through the origin (MacKay, 1992; scikit-learn), which learns with every set that is built."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = [(_PRIOR_DAMAGE, _PRIOR_LOST)]
        self.errors: list[float] = []

    def tell(self, damage: float, lost: float) -> None:
        """A set was built. What had been predicted for it counts as a held-out error."""
        self.errors.append(self.predict(damage)[0] - lost)
        self._seen.append((damage, lost))

    def predict(self, damage: float) -> tuple[float, float]:
        """Mean and standard deviation; at most 1."""
        from sklearn.linear_model import BayesianRidge

        seen: NDArray[np.float64] = np.array(self._seen)
        # Relative errors count: a large set must not drown the mild ones.
        weights = 1.0 / np.maximum(seen[:, 1], 0.005) ** 2
        model = BayesianRidge(fit_intercept=False)
        model.fit(seen[:, :1], seen[:, 1], sample_weight=weights)
        mean, spread = model.predict(np.array([[damage]]), return_std=True)
        return float(np.clip(mean[0], 0.0, 1.0)), float(spread[0])

    @property
    def held_out_error(self) -> float | None:
        """Mean absolute error of predictions made before building; None without any."""
        return float(np.mean(np.abs(self.errors))) if self.errors else None


def next_combination(
    front: Sequence[Combination], predictor: LossPredictor, built: Sequence[Combination]
) -> Combination | None:
    """What to build next: for each tolerance, mildest first, the set that saves most of those
    predicted to stay within; None where all of these, or sets much like them, were built."""
    if not front:
        return None
    least = _ALIKE * max(c.saved_ms for c in front)
    for tolerance in TOLERANCES:
        within = [c for c in front if predictor.predict(c.damage)[0] <= tolerance]
        best = max(within, key=lambda c: c.saved_ms, default=None)
        if best and all(abs(best.saved_ms - c.saved_ms) >= least for c in built):
            return best
    return None
