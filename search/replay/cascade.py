"""Exact replay of one plan over traces: the answers that the bundle would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.search.estimates.targets import Floats, Ints
from trimtab_runtime.plans.routing import combine, decide

#: A scorer: the confidence (n,) of what a plan would answer from, probabilities (n, classes).
Scoring = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Replay:
    """Per input: `answer`, `stage` and `entry` (n,) int64, `confidence` (n,), and `decided`
    (n, classes), the probabilities that the answer was read from."""

    answer: Ints
    stage: Ints
    confidence: Floats
    decided: Floats
    entry: Ints

    def reach(self, stages: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Share of inputs that run each stage (stages,)."""
        ran = [(self.entry <= s) & (self.stage >= s) for s in range(stages)]
        return np.array([float(inputs.mean()) for inputs in ran])


def stopping(confidence: Sequence[Floats], thresholds: Sequence[float]) -> Ints:
    """The stage (n,) that answers each input: the first one whose confidence, (n,) a stage, is
    at least its threshold; else the last."""
    stage: Ints = np.full(len(confidence[0]), len(confidence) - 1, np.int64)
    for position in reversed(range(len(confidence) - 1)):
        stage[confidence[position].astype(np.float64) >= thresholds[position]] = position
    return stage


def replay(
    probabilities: Sequence[Floats],
    rule: str,
    thresholds: Sequence[float],
    entry: Ints | None = None,
    scorers: Sequence[Scoring | None] = (),
) -> Replay:
    """Run a plan over `probabilities`, one (n, classes) a stage.

    The device's own arithmetic (trimtab_runtime.plans.routing): stage i answers where the
    confidence is at least thresholds[i]. Inputs come in at stage `entry` (n,), by default at the
    first; a stage's scorer, where it has one, says its confidence instead of the largest
    probability.
    """
    count = len(probabilities[0])
    where: Ints = np.zeros(count, np.int64) if entry is None else entry
    by_stage = [*scorers, *[None] * (len(probabilities) - len(scorers))]
    answer, stage = np.zeros(count, np.int64), np.zeros(count, np.int64)
    confidence, decided = np.zeros(count, np.float32), np.zeros_like(probabilities[0])
    for first in np.unique(where):
        rows = where == first
        later = [found[rows] for found in probabilities[first:]]
        totals: list[Floats] = []
        for position, found in enumerate(later):
            totals.append(combine(totals[-1] if totals else None, found, position, rule))
        sure = [confidence_of(t, s) for t, s in zip(totals, by_stage[first:], strict=True)]
        stops = stopping(sure, thresholds[first:])
        place: Ints = np.arange(len(stops))
        own = np.stack(totals)[stops, place]
        answer[rows], decided[rows], stage[rows] = own.argmax(1), own, stops + first
        confidence[rows] = np.stack(sure)[stops, place]
    return Replay(answer, stage, confidence, decided, where)


def confidence_of(probabilities: Floats, scorer: Scoring | None) -> Floats:
    """How sure a stage is (n,) of what it would answer from, probabilities (n, classes)."""
    sure: Floats = decide(probabilities)[1] if scorer is None else scorer(probabilities)
    return sure
