"""Costs of unmeasured candidates: a roofline with learned paces.

The time of a candidate is a sum over parts of its work (multiply-accumulates and elements moved by
kind of operator, operators dispatched, the call itself; Williams et al., "Roofline", CACM 2009),
each at a pace of its own. The logarithm of a pace is linear in how the candidate runs (engine,
threads, spinning, precision, graph level, steps), with effects on all parts alike, on each part,
and, shrunk more, pairs of them; members, and what was made of them, have factors of their own,
which is how one measurement of a member corrects what is said of its variants. All effects have
normal priors, so the first measurements already say much. What paces cannot say (a kernel that
suits one shape and not another) is the same for works that are alike, in every way to run: a
Gaussian process over the shares of their parts. The posterior is found by Gauss-Newton steps
(Laplace's approximation; MacKay, 1992). The noise, and how far members differ, are chosen by
evidence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy

from trimtab.search.predictors.base import Doubles, Prediction, Predictor, to_scale
from trimtab.search.predictors.description import Description
from trimtab_runtime.definitions.plan import RuntimeOptions

#: Gauss-Newton: steps at most, shares of one that are tried, and a gain that is none.
_STEPS, _SHORTER, _SETTLED = 12, (1.0, 0.5, 0.25, 0.1, 0.03), 0.01
#: Standard deviations, in log units, of what differs by member, and of noise: to be chosen from.
_MEMBERS = (0.03, 0.1, 0.3)
_NOISE = (0.01, 0.03, 0.1)
#: Of the pace of the device, of a part's pace, of what changes the work unseen or the way it runs,
#: of what changes it in sight.
_DEVICE, _PART, _EFFECT, _SEEN = 1.0, 0.5, 0.6, 0.1
#: Of an effect's, for what it does to one part only, or together with another effect.
_ON_PART, _PAIR = 0.7, 0.3
#: Length scales of likeness: of square roots of shares of the time, and of the logarithm of the
#: whole; components that count less than the first by this are left out.
_SHARES, _WHOLE, _LITTLE = 0.3, 1.5, 1e-2
_SERIAL = ("call", "operators", "preprocessing", "process", "weights", "activations")
#: Effects on parts that are expected: the log of their pace, and parts that are exempt.
_EXPECTED = {"threads": (-0.6, _SERIAL), "bytes": (-0.7, _SERIAL)}


def time_parts(found: Description) -> dict[str, float]:
    """Milliseconds by part, at the paces of a middling core: the mean of the prior."""
    work = found.work.amounts
    parts = {name: work.get(name, 0) / pace for name, pace in _PACES.items()}
    return parts | {"preprocessing": found.pixels / 1e5, "call": 0.05}


#: Multiply-accumulates, elements or operators a millisecond.
_PACES = {
    "conv": 2e7,
    "pointwise": 2e7,
    "depthwise": 4e6,
    "dense": 5e6,
    "patches": 8e6,
    "moved": 2e6,
    "elementwise": 2e6,
    "weights": 4e6,
    "operators": 300,
}


def size_parts(found: Description) -> dict[str, float]:
    """MB by part: what a process holds, of floats."""
    work = found.work.amounts
    return {
        "process": 60.0,
        "weights": 4 * work.get("weights", 0) / 2**20,
        "activations": 8 * work.get("largest", 0) / 2**20,
        "operators": 0.01 * work["operators"],
    }


PartsOf = Callable[[Description], dict[str, float]]
Effects = dict[str, tuple[float, float]]


@lru_cache(maxsize=4096)
def _effects(
    options: RuntimeOptions,
    steps: tuple[str, ...],
    unseen: tuple[str, ...],
    multiplies: tuple[str, ...],
) -> Effects:
    """How a candidate runs: value and standard deviation of every effect on its cost."""
    told: Effects = {f"engine {options.engine} {options.provider}": (1.0, _EFFECT)}
    if options.threads > 1:
        told["threads"] = (math.log(options.threads), _EFFECT)
    if options.spinning:
        told["spinning"] = (1.0, _EFFECT)
    if options.graph_optimisation != "all":  # the last level lays maps of floats out anew
        of, width = (" of bytes", _SEEN) if multiplies else ("", _EFFECT)
        told[f"graph {options.graph_optimisation}{of}"] = (1.0, width)
    told |= dict.fromkeys(multiplies, (1.0, _EFFECT))
    for step in steps:
        if step in unseen:
            told[f"step {step}"] = (1.0, _EFFECT)
        elif step != "w8a8":
            told[f"step {step}"] = (1.0, _SEEN)
    pairs = itertools.combinations(sorted(told), 2)
    both = {f"{a} x {b}": (told[a][0] * told[b][0], _PAIR * told[a][1]) for a, b in pairs}
    return told | both


def _own_factors(found: Description) -> Effects:
    """Factors of a member, and of it in one form or run in one way; in units of how far members
    differ."""
    member, run = found.member, repr(found.options)
    return {
        f"member {member}": (1.0, 1.0),
        f"form {member} {found.steps}": (1.0, _PAIR),
        f"run {member} {found.multiplies} {run}": (1.0, _PAIR),
    }


@dataclass(frozen=True)
class _Columns:
    """Candidates as arrays: `parts` (n, parts) of work, `effects` (n, effects) on their paces,
    `factors` (n, factors) of the whole, of which the last `own` are of members; means and spreads
    of the coefficients' priors."""

    parts: Doubles
    effects: Doubles
    factors: Doubles
    own: int
    mean: Doubles
    spread: Doubles

    def rows(self, which: slice) -> _Columns:
        """Some of the candidates."""
        parts, effects, factors = self.parts[which], self.effects[which], self.factors[which]
        return replace(self, parts=parts, effects=effects, factors=factors)

    def spreads(self, members: float) -> Doubles:
        """The spreads, where members differ so much."""
        found = self.spread.copy()
        found[len(found) - self.own :] *= members
        return found

    def values(self, beta: Doubles) -> tuple[Doubles, Doubles]:
        """The logarithm of the cost (n,) and its derivatives (n, coefficients)."""
        n, k = self.parts.shape
        split = k * self.effects.shape[1]
        logs = np.log(np.maximum(self.parts, 1e-12)) + self.effects @ beta[:split].reshape(k, -1).T
        total = scipy.special.logsumexp(logs, axis=1)
        shares = np.exp(logs - total[:, None])
        slopes = (shares[:, :, None] * self.effects[:, None, :]).reshape(n, split)
        return total + self.factors @ beta[split:], np.hstack([slopes, self.factors])


def _columns(found: Sequence[Description], parts_of: PartsOf) -> _Columns:
    parts = [parts_of(each) for each in found]
    names = list(parts[0])
    runs: list[Effects] = [
        {"pace": (1.0, _PART), **_effects(each.options, each.steps, each.unseen, each.multiplies)}
        for each in found
    ]
    work = np.array([[each[name] for name in names] for each in parts])
    effects, spread = _table(runs)
    owned, own_spread = _table([_own_factors(each) for each in found])
    alike = (_likeness(work)[:, :, None] * effects[:, None, :]).reshape(len(found), -1)
    owned, own_spread = np.hstack([owned, alike]), np.append(own_spread, np.ones(alike.shape[1]))
    on_parts = np.where(np.arange(len(spread)) > 0, _ON_PART * spread, spread)
    on_parts = np.tile(on_parts, (len(names), 1))
    mean = np.zeros(on_parts.shape)
    labels = list(dict.fromkeys(name for run in runs for name in run))
    for number, name in enumerate(names):
        for effect, (slope, exempt) in _EXPECTED.items():
            if effect in labels and name not in exempt:
                mean[number, labels.index(effect)] = slope
    whole = spread.copy()
    whole[0] = _DEVICE
    return _Columns(
        parts=work,
        effects=effects,
        factors=np.hstack([effects, owned]),
        own=len(own_spread),
        mean=np.concatenate([mean.ravel(), np.zeros(len(whole) + len(own_spread))]),
        spread=np.concatenate([on_parts.ravel(), whole, own_spread]),
    )


def _likeness(parts: Doubles) -> Doubles:
    """(n, components): their products are how alike works are, by `parts` (n, parts) of the time
    (1 for the same, squared-exponential)."""
    whole = parts.sum(axis=1, keepdims=True)
    places = np.hstack([np.sqrt(parts / whole) / _SHARES, np.log(whole) / _WHOLE])
    places, which = np.unique(places.round(9), axis=0, return_inverse=True)
    weights, vectors = np.linalg.eigh(
        np.exp(-0.5 * scipy.spatial.distance.cdist(places, places, "sqeuclidean"))
    )
    kept = weights > _LITTLE * weights.max()
    found: Doubles = (vectors[:, kept] * np.sqrt(weights[kept]))[which.ravel()]
    return found


def _table(rows: Sequence[Effects]) -> tuple[Doubles, Doubles]:
    """Values (n, names) and spreads (names,), in the order in which names occur."""
    names = {name: number for number, name in enumerate(dict.fromkeys(n for r in rows for n in r))}
    values, spread = np.zeros((len(rows), len(names))), np.zeros(len(names))
    for number, row in enumerate(rows):
        for name, (value, width) in row.items():
            values[number, names[name]] = value
            spread[names[name]] = width
    return values, spread


class CostPredictor(Predictor):
    """Predicts a cost: times and energy from work, memory and sizes from what is held."""

    def predict(
        self, known: Sequence[Description], values: Doubles, wanted: Sequence[Description]
    ) -> Prediction:
        timed = self.metric.startswith(("latency", "energy", "load"))
        columns = _columns([*known, *wanted], time_parts if timed else size_parts)
        seen, ahead = columns.rows(slice(len(known))), columns.rows(slice(len(known), None))
        target = to_scale(self.metric, values)
        fits = (
            _Fit.of(seen, columns.spreads(members), target, noise)
            for members, noise in itertools.product(_MEMBERS, _NOISE)
        )
        best = max(fits, key=lambda fit: fit.evidence)
        return Prediction(self.metric, *best.predict(ahead))


@dataclass(frozen=True)
class _Fit:
    """Coefficients found, and what is left to doubt: `rows` (n, coefficients) are the known ones'
    slopes in units of the priors' `spread`, `factor` (n, n) the Cholesky factor of their
    covariance."""

    beta: Doubles
    spread: Doubles
    noise: float
    rows: Doubles
    factor: Doubles
    evidence: float

    @classmethod
    def of(cls, known: _Columns, spread: Doubles, target: Doubles, noise: float) -> _Fit:
        """Gauss-Newton from the mean of the prior, in the space of the known (n,): there are
        fewer of them than coefficients. Steps that overshoot are shortened."""

        def left(beta: Doubles, value: Doubles) -> float:
            off, moved = (target - value) / noise, (beta - known.mean) / spread
            return float(off @ off + moved @ moved)

        beta, (value, slopes) = known.mean, known.values(known.mean)
        least = left(beta, value)
        for _ in range(_STEPS):
            rows, factor = _covered(slopes, spread, noise)
            gap = target - value + slopes @ (beta - known.mean)
            white = scipy.linalg.solve_triangular(factor, gap, lower=True)
            aim = known.mean + spread * (
                rows.T @ scipy.linalg.solve_triangular(factor, white, lower=True, trans=1)
            )
            for share in _SHORTER:
                tried = beta + share * (aim - beta)
                value, slopes = known.values(tried)
                now = left(tried, value)
                if now < least:
                    break
            else:
                break
            gained, beta, least = least - now, tried, now
            if gained < _SETTLED:
                break
        rows, factor = _covered(known.values(beta)[1], spread, noise)
        evidence = -0.5 * least - float(np.log(np.diag(factor)).sum())
        return cls(beta, spread, noise, rows, factor, evidence)

    def predict(self, wanted: _Columns) -> tuple[Doubles, Doubles]:
        """Means and spreads (m,)."""
        mean, slopes = wanted.values(self.beta)
        rows = slopes * self.spread
        told = scipy.linalg.solve_triangular(self.factor, self.rows @ rows.T, lower=True)
        left = (rows**2).sum(axis=1) - (told**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(left, 0.0) + self.noise**2)


def _covered(slopes: Doubles, spread: Doubles, noise: float) -> tuple[Doubles, Doubles]:
    """Slopes (n, coefficients) in units of the priors' spread, and the Cholesky factor (n, n) of
    the covariance of what is measured."""
    rows = slopes * spread
    covariance = rows @ rows.T + noise**2 * np.eye(len(rows))
    return rows, np.asarray(np.linalg.cholesky(covariance), float)
