"""The loop that answers the frames of a stream, for plans of every kind: what Numba compiles.

The same steps in the same order as trimtab_runtime.plans.loop takes them on a device, and the
device's own arithmetic of exits and memory (trimtab_runtime.memory.kernel). Answers may depend on
earlier answers, so frames cannot be computed side by side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trimtab_runtime.memory import kernel
from trimtab_runtime.memory.kernel import (
    NETWORK,
    NEVER,
    THUMBNAILS,
    Entries,
    PlanState,
    Rules,
    TapModel,
    TapState,
)

Array = Any


class Stages(NamedTuple):
    """What the networks say of the frames: the stage `entry` (frames,) int64 where each comes in;
    `totals` (stages, frames, classes) float32, what would be decided on at each stage; how `sure`
    (stages, frames) float64 that would be, and the `thresholds` (stages,) float64 above which it
    is the answer; the last stage always answers."""

    entry: Array
    totals: Array
    sure: Array
    thresholds: Array


class Taps(NamedTuple):
    """What is asked before a network's end, and what is remembered.

    Taps are numbered over all stages, those of stage s from `starts[s]` to `starts[s + 1]`:
    standardised `vectors` (taps, frames, width) and `logits` (taps, frames, classes), float32;
    `temperatures` (taps, 2) float64 of heads and centres, and `kinds` (taps, 3) bool, whether
    instances, centres and heads are asked; `nothing` (0,) stands for their means and scales.
    `thumbnails` (frames, size) float32 are kept or not. `states` has the arrays of every tap's
    state with the axis of taps first.
    """

    starts: Array
    vectors: Array
    logits: Array
    temperatures: Array
    kinds: Array
    nothing: Array
    thumbnails: Array
    keeps_thumbnails: bool
    states: TapState
    plan: PlanState
    rules: Rules


class Told(NamedTuple):
    """What is filled in: (frames,) int64 `answer`, the `stage` that ran last, `tap` (-1: none) and
    `by`; and `decided` (frames, classes) float32, the probabilities that the answer was read
    from."""

    answer: Array
    stage: Array
    tap: Array
    by: Array
    decided: Array


def fresh_answers(frames: int, classes: int) -> Told:
    """Nothing filled in yet."""
    answer, stage, tap, by = np.zeros((4, frames), np.int64)
    return Told(answer, stage, tap, by, np.zeros((frames, classes), np.float32))


def answer_frames(stages: Stages, taps: Taps | None, told: Told) -> None:
    """Answer all frames in their order, and learn from each. Without `taps` no tap is asked and
    nothing is remembered; the compiler then leaves out all that belongs to them."""
    frames, classes = told.decided.shape
    last = len(stages.totals) - 1
    entry, totals, sures, thresholds = stages.entry, stages.totals, stages.sure, stages.thresholds
    answers, ended, at, by_whom, decided = told.answer, told.stage, told.tap, told.by, told.decided
    scores = np.zeros(classes, np.float32)
    if taps is not None:
        # In local variables: handing tuples of so many arrays around takes longer.
        starts, vectors, logits, temperatures, kinds, nothing = taps[:6]
        thumbnails, keeps, states, plan, rules = taps[6:]
        entries = plan.thumbnails
        kept, centres, norms, members = states
    for frame in range(frames):
        said = decided[frame]
        stage = entry[frame]
        by, slot, tap = NETWORK, NEVER, NEVER
        if taps is not None:
            passed = starts[stage]
            if keeps:
                near, distance = kernel.nearest_thumbnail(thumbnails[frame], entries)
                if distance <= rules.thumbnails:
                    by, slot = THUMBNAILS, near
                    said[:] = entries.said[near]
        while by == NETWORK:
            if taps is not None:
                scores[:] = 0.0
                for t in range(starts[stage], starts[stage + 1]):
                    passed = t + 1
                    model = model_of(t, temperatures, kinds, nothing)
                    state = state_of(t, kept, centres, norms, members)
                    by, slot = kernel.look(
                        vectors[t, frame],
                        logits[t, frame],
                        state,
                        model,
                        plan,
                        rules,
                        scores,
                        said,
                    )
                    if by != NETWORK:
                        tap = t
                        break
                if by != NETWORK:
                    break
            said[:] = totals[stage, frame]
            sure = sures[stage, frame]
            if taps is not None and rules.prior_final != 0.0:
                said[:] = kernel.weighed(said, plan, rules)
                sure = float(said.max())
            if stage == last or sure >= thresholds[stage]:
                break
            stage += 1
        answer = said.argmax()
        if taps is not None:
            for t in range(starts[entry[frame]], passed):
                model = model_of(t, temperatures, kinds, nothing)
                state = state_of(t, kept, centres, norms, members)
                own = slot if t == tap else NEVER
                kernel.keep(vectors[t, frame], said, state, model, plan, rules, own, tap != NEVER)
            if keeps:
                own = slot if by == THUMBNAILS else NEVER
                kernel.keep_thumbnail(thumbnails[frame], said, plan, own)
            kernel.end_frame(answer, said, plan, rules)
        answers[frame] = answer
        ended[frame] = stage
        at[frame] = tap
        by_whom[frame] = by


def model_of(tap: int, temperatures: Array, kinds: Array, nothing: Array) -> TapModel:
    """Of a tap whose vectors are standardised already."""
    heads, centres = temperatures[tap, 0], temperatures[tap, 1]
    return TapModel(nothing, nothing, heads, centres, kinds[tap, 0], kinds[tap, 1], kinds[tap, 2])


def state_of(tap: int, kept: Entries, centres: Array, norms: Array, members: Array) -> TapState:
    """The state of one tap, of the arrays of all."""
    entries = Entries(kept.vectors[tap], kept.said[tap], kept.used[tap])
    return TapState(entries, centres[tap], norms[tap], members[tap])


#: What a compiler must know, callees first.
CALLEES = (*kernel.FUNCTIONS, state_of, model_of)
