"""Exact replay of plans without a memory, over traces: the answers the bundle would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.replay.compilation import Compiled
from trimtab.search.replay.kernel import CALLEES, Stages, answer_frames, fresh_answers
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.plans.routing import combine, decide

#: A scorer: the confidence (n,) of what a plan would answer from, probabilities (n, classes).
Scoring = Callable[[Floats], Floats]

#: The compiled loop, for plans of every kind.
run_frames = Compiled(answer_frames, CALLEES)


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


def replay(
    probabilities: Sequence[Floats],
    rule: str,
    thresholds: Sequence[float],
    entry: Ints | None = None,
    scorers: Sequence[Scoring | None] = (),
) -> Replay:
    """Run a plan over `probabilities`, one (n, classes) a stage.

    Stage i answers where the confidence is at least thresholds[i]. Inputs come in at stage `entry`
    (n,), by default at the first; a stage's scorer, where it has one, says its confidence instead
    of the largest probability. Raises PlanningError where thresholds or entries do not fit.
    """
    stages = stages_of(probabilities, rule, thresholds, entry, scorers)
    told = fresh_answers(*probabilities[0].shape)
    run_frames(stages, None, told)
    sure = stages.sure[told.stage, np.arange(len(told.stage))].astype(np.float32)
    return Replay(told.answer, told.stage, sure, told.decided, stages.entry)


def stages_of(
    probabilities: Sequence[Floats],
    rule: str,
    thresholds: Sequence[float],
    entry: Ints | None = None,
    scorers: Sequence[Scoring | None] = (),
) -> Stages:
    """What the compiled loop takes: see `replay`."""
    count, stages = len(probabilities[0]), len(probabilities)
    where = np.zeros(count, np.int64) if entry is None else entry.astype(np.int64)
    if len(thresholds) < stages - 1:
        raise PlanningError(f"{stages - 1} threshold(s) needed, got {len(thresholds)}")
    if count and not 0 <= where.min() <= where.max() < stages:
        raise PlanningError(f"0 <= entry < {stages} must hold, got {where.min()} to {where.max()}")
    totals = totals_of(probabilities, rule, where)
    sure = np.empty((stages, count))
    for position, scorer in enumerate([*scorers, *[None] * (stages - len(scorers))]):
        came = slice(None) if scorer is None else where <= position
        sure[position, came] = confidence_of(totals[position, came], scorer)
    # The last stage needs no threshold; any number fills its place.
    return Stages(where, totals, sure, np.array([*thresholds[: stages - 1], 0.0]))


def totals_of(probabilities: Sequence[Floats], rule: str, entry: Ints) -> Floats:
    """What would be decided on at each stage (stages, n, classes) by inputs that come in at stage
    `entry` (n,). What it says of stages before that means nothing."""
    found: Floats = np.stack(probabilities)
    entries = np.unique(entry)
    for first in entries:
        rows = slice(None) if len(entries) == 1 else np.flatnonzero(entry == first)
        total: Floats | None = None
        for position in range(first, len(found)):
            total = combine(total, found[position, rows], position - first, rule)
            found[position, rows] = total
    return found


def confidence_of(probabilities: Floats, scorer: Scoring | None) -> Floats:
    """How sure a stage is (n,) of what it would answer from, probabilities (n, classes)."""
    sure: Floats = decide(probabilities)[1] if scorer is None else scorer(probabilities)
    return sure
