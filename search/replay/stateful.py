"""Exact replay of plans that stop early or remember, over traces in the order of the stream.

The kernel is the device's own (trimtab_runtime.memory.kernel), compiled here by Numba: answers
depend on earlier answers, so frames cannot be computed side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from trimtab.search.estimates.targets import Floats, Ints
from trimtab_runtime.definitions.exits import ExitThresholds, Memory, Tap
from trimtab_runtime.memory import kernel
from trimtab_runtime.memory.kernel import NETWORK, NEVER, THUMBNAILS, Entries, TapModel, TapState
from trimtab_runtime.memory.semantic import (
    TapArrays,
    fresh_plan_state,
    fresh_tap_states,
    rules_of,
    tap_models,
)


@dataclass(frozen=True)
class TappedStage:
    """A stage of a stateful plan over a stream: its calibrated `probabilities` (frames, classes),
    and of each of its `taps` the `arrays`, standardised `vectors` (frames, channels) and `logits`
    (frames, classes) of its head, empty (0, classes) where it has none."""

    probabilities: Floats
    taps: tuple[Tap, ...] = ()
    arrays: tuple[TapArrays, ...] = ()
    vectors: tuple[Floats, ...] = ()
    logits: tuple[Floats, ...] = ()


@dataclass(frozen=True)
class StatefulReplay:
    """Per frame (n,): `answer`, the `stage` that ran last (0 where none did), the `tap` that
    answered, numbered over all stages (-1: none), `by` whom
    (trimtab_runtime.memory.kernel.NETWORK ...), `step`, the last primitive that ran, counted over
    thumbnails (0, where no thumbnails are kept nothing) and segments of all stages; `decided` (n,
    classes) holds the probabilities that the answer was read from."""

    answer: Ints
    stage: Ints
    tap: Ints
    by: Ints
    step: Ints
    decided: Floats

    def reach(self, steps: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Share of frames that come to each step (steps,)."""
        return np.array([float((self.step >= step).mean()) for step in range(steps)])


@cache
def _compiled() -> Any:
    # Half a second to import and ten to compile: only jobs with early exits shall wait for it.
    from numba import njit
    from numba.extending import register_jitable

    for function in (*kernel.FUNCTIONS, _model, _state):
        register_jitable(function)
    return njit(_frames)


def replay_stateful(
    stages: Sequence[TappedStage],
    rule: str,
    thresholds: Sequence[float],
    memory: Memory,
    exits: ExitThresholds,
    thumbnails: Floats,
) -> StatefulReplay:
    """Run a plan over a stream whose frames have `thumbnails` (n, size), from an empty memory."""
    frames, classes = stages[0].probabilities.shape
    taps = [tap for stage in stages for tap in stage.taps]
    arrays = [found for stage in stages for found in stage.arrays]
    models = tap_models(taps, arrays)
    states = fresh_tap_states(memory, models, arrays, classes)
    # Padded with zeros to one width, which changes no cosine: so all plans are of one type, and
    # are compiled once.
    widths = [len(model.mean) for model in models]
    width = max(widths, default=1)
    vectors = [vector for stage in stages for vector in stage.vectors]
    plan = fresh_plan_state(memory, classes)
    found = _compiled()(
        np.stack([stage.probabilities for stage in stages]),
        np.cumsum([0, *(len(stage.taps) for stage in stages)]),
        thumbnails,
        memory.thumbnails > 0,
        _padded([v[:, :w] for v, w in zip(vectors, widths, strict=True)], (frames, width)),
        _padded([found for stage in stages for found in stage.logits], (frames, classes)),
        np.array([[m.head_temperature, m.centre_temperature] for m in models]).reshape(-1, 2),
        np.array([[m.instances, m.centres, m.heads] for m in models], np.bool_).reshape(-1, 3),
        _padded([state.entries.vectors for state in states], (memory.instances, width)),
        _padded([state.entries.said for state in states], (memory.instances, classes)),
        np.full((len(taps), memory.instances), NEVER, np.int64),
        _padded([state.centres for state in states], (classes, width)),
        _padded([state.norms for state in states], (classes,)),
        _padded([state.members for state in states], (classes,)),
        plan,
        rules_of(memory, exits),
        np.array([*thresholds, -np.inf]),
        rule == "mean",
        np.zeros((frames, 5), np.int64),
        np.zeros((frames, classes), np.float32),
    )
    answer, stage, tap, by, step = found[0].T
    return StatefulReplay(answer, stage, tap, by, step, found[1])


def _padded(arrays: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    """All in one array (arrays, *shape), the rest zero."""
    found = np.zeros((len(arrays), *shape), np.float32)
    for place, array in zip(found, arrays, strict=True):
        place[tuple(slice(size) for size in array.shape)] = array
    return found


def _frames(
    probabilities: Any,
    starts: Any,
    thumbnails: Any,
    keeps_thumbnails: bool,
    vectors: Any,
    logits: Any,
    temperatures: Any,
    kinds: Any,
    entries: Any,
    entries_said: Any,
    entries_used: Any,
    centres: Any,
    norms: Any,
    members: Any,
    plan: Any,
    rules: Any,
    thresholds: Any,
    mean: bool,
    found: Any,
    decided: Any,
) -> Any:
    """Fill `found` (frames, 5) and `decided` (frames, classes)."""
    frames, classes = decided.shape
    scores = np.zeros(classes, np.float32)
    total = np.zeros(classes, np.float32)
    nothing = np.zeros(0, np.float32)
    for frame in range(frames):
        said = decided[frame]
        by, slot, stage, passed, step = NETWORK, NEVER, 0, 0, 0
        if keeps_thumbnails:
            near, distance = kernel.nearest_thumbnail(thumbnails[frame], plan.thumbnails)
            if distance <= rules.thumbnails:
                by, slot = THUMBNAILS, near
                said[:] = plan.thumbnails.said[near]
        while by == NETWORK:
            scores[:] = 0.0
            for tap in range(starts[stage], starts[stage + 1]):
                step += 1
                passed = tap + 1
                model = _model(tap, temperatures, kinds, nothing)
                state = _state(tap, entries, entries_said, entries_used, centres, norms, members)
                by, slot = kernel.look(
                    vectors[tap, frame],
                    logits[tap, frame],
                    state,
                    model,
                    plan,
                    rules,
                    scores,
                    said,
                )
                if by != NETWORK:
                    break
            if by != NETWORK:
                break
            step += 1
            if mean and stage > 0:
                total += (probabilities[stage, frame] - total) * np.float32(1.0 / (stage + 1))
            else:
                total[:] = probabilities[stage, frame]
            said[:] = kernel.weighed(total, plan, rules)
            if said.max() >= thresholds[stage]:
                break
            stage += 1
        at_tap = by > THUMBNAILS
        for tap in range(passed):
            own = slot if at_tap and tap == passed - 1 else NEVER
            model = _model(tap, temperatures, kinds, nothing)
            state = _state(tap, entries, entries_said, entries_used, centres, norms, members)
            kernel.keep(vectors[tap, frame], said, state, model, plan, rules, own, at_tap)
        if keeps_thumbnails:
            own = slot if by == THUMBNAILS else NEVER
            kernel.keep_thumbnail(thumbnails[frame], said, plan, own)
        answer = said.argmax()
        kernel.end_frame(answer, said, plan, rules)
        found[frame, 0] = answer
        found[frame, 1] = stage
        found[frame, 2] = passed - 1 if at_tap else -1
        found[frame, 3] = by
        found[frame, 4] = step
    return found, decided


def _model(tap: int, temperatures: Any, kinds: Any, nothing: Any) -> TapModel:
    """Of a tap whose vectors are standardised already."""
    heads, centres = temperatures[tap, 0], temperatures[tap, 1]
    return TapModel(nothing, nothing, heads, centres, kinds[tap, 0], kinds[tap, 1], kinds[tap, 2])


def _state(
    tap: int, vectors: Any, said: Any, used: Any, centres: Any, norms: Any, members: Any
) -> TapState:
    entries = Entries(vectors[tap], said[tap], used[tap])
    return TapState(entries, centres[tap], norms[tap], members[tap])
