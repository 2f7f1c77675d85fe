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
    instances, centres and heads are asked. `thumbnails` (frames, size) float32 are kept or not.
    `states` has the arrays of every tap's state with the axis of taps first.
    """

    starts: Array
    vectors: Array
    logits: Array
    temperatures: Array
    kinds: Array
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
    scores = np.zeros(classes, np.float32)
    for frame in range(frames):
        said = told.decided[frame]
        stage = stages.entry[frame]
        by, slot, tap = NETWORK, NEVER, NEVER
        if taps is not None:
            by, slot = look_at_thumbnail(frame, taps, said)
        while by == NETWORK:
            if taps is not None:
                by, slot, tap = look_at_taps(stage, frame, taps, scores, said)
                if by != NETWORK:
                    break
            said[:] = stages.totals[stage, frame]
            sure = stages.sure[stage, frame]
            if taps is not None and taps.rules.prior_final != 0.0:
                said[:] = kernel.weighed(said, taps.plan, taps.rules)
                sure = float(said.max())
            if stage == last or sure >= stages.thresholds[stage]:
                break
            stage += 1
        answer = said.argmax()
        if taps is not None:
            learn(stages.entry[frame], stage, frame, taps, by, slot, tap, answer, said)
        told.answer[frame] = answer
        told.stage[frame] = stage
        told.tap[frame] = tap
        told.by[frame] = by


def look_at_thumbnail(frame: int, taps: Taps, said: Array) -> tuple[int, int]:
    """Who answers before any network, and with which entry. An answer is left in `said`."""
    if taps.keeps_thumbnails:
        entries = taps.plan.thumbnails
        near, distance = kernel.nearest_thumbnail(taps.thumbnails[frame], entries)
        if distance <= taps.rules.thumbnails:
            said[:] = entries.said[near]
            return THUMBNAILS, near
    return NETWORK, NEVER


def look_at_taps(
    stage: int, frame: int, taps: Taps, scores: Array, said: Array
) -> tuple[int, int, int]:
    """Who answers at the taps of a stage, with which entry and at which tap. An answer is left in
    `said`; `scores` (classes,) are those of centres, which begin anew at every stage."""
    scores[:] = 0.0
    for tap in range(taps.starts[stage], taps.starts[stage + 1]):
        by, slot = kernel.look(
            taps.vectors[tap, frame],
            taps.logits[tap, frame],
            state_of(tap, taps.states),
            model_of(tap, taps),
            taps.plan,
            taps.rules,
            scores,
            said,
        )
        if by != NETWORK:
            return by, slot, tap
    return NETWORK, NEVER, NEVER


def learn(
    entry: int,
    stage: int,
    frame: int,
    taps: Taps,
    by: int,
    slot: int,
    tap: int,
    answer: int,
    said: Array,
) -> None:
    """Learn from a frame at every tap that it passed, and from its thumbnail."""
    passed = taps.starts[entry]
    if tap != NEVER:
        passed = tap + 1
    elif by == NETWORK:
        passed = taps.starts[stage + 1]
    for place in range(taps.starts[entry], passed):
        kernel.keep(
            taps.vectors[place, frame],
            said,
            state_of(place, taps.states),
            model_of(place, taps),
            taps.plan,
            taps.rules,
            slot if place == tap else NEVER,
            tap != NEVER,
        )
    if taps.keeps_thumbnails:
        own = slot if by == THUMBNAILS else NEVER
        kernel.keep_thumbnail(taps.thumbnails[frame], said, taps.plan, own)
    kernel.end_frame(answer, said, taps.plan, taps.rules)


def model_of(tap: int, taps: Taps) -> TapModel:
    """Of a tap whose vectors are standardised already."""
    nothing = taps.vectors[tap, 0, :0]
    heads, centres = taps.temperatures[tap, 0], taps.temperatures[tap, 1]
    kinds = taps.kinds[tap]
    return TapModel(nothing, nothing, heads, centres, kinds[0], kinds[1], kinds[2])


def state_of(tap: int, states: TapState) -> TapState:
    """The state of one tap, of the arrays of all."""
    entries = states.entries
    own = Entries(entries.vectors[tap], entries.said[tap], entries.used[tap])
    return TapState(own, states.centres[tap], states.norms[tap], states.members[tap])


#: What a compiler must know, callees first.
CALLEES = (*kernel.FUNCTIONS, state_of, model_of, look_at_thumbnail, look_at_taps, learn)
