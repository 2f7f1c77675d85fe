"""Exact replay of plans with early exits or a memory, over traces in stream order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.replay.cascade import Scoring, run_frames, stages_of
from trimtab.search.replay.kernel import Taps, fresh_answers, state_of
from trimtab_runtime.definitions.exits import ExitThresholds, Memory, Tap
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.memory.kernel import NEVER, THUMBNAILS, Entries, Rules, TapState
from trimtab_runtime.memory.states import (
    TapArrays,
    every_array,
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
    classes) holds the probabilities that the answer was read from; the stage that was its `entry`.
    `remembered` is what was learned, by the names of trimtab_runtime.memory.states.every_array.
    """

    answer: Ints
    stage: Ints
    tap: Ints
    by: Ints
    step: Ints
    decided: Floats
    entry: Ints
    remembered: Mapping[str, Any]

    def reach(self, steps: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Share of frames that come to each step (steps,)."""
        return np.array([float((self.step >= step).mean()) for step in range(steps)])


def replay_stateful(
    stages: Sequence[TappedStage],
    rule: str,
    thresholds: Sequence[float],
    memory: Memory,
    exits: ExitThresholds,
    thumbnails: Floats,
    entry: Ints | None = None,
    scorers: Sequence[Scoring | None] = (),
) -> StatefulReplay:
    """Run a plan over a stream whose frames have `thumbnails` (n, size), from an empty memory.

    `entry` and `scorers` as :func:`trimtab.search.replay.cascade.replay` takes them. Raises
    PlanningError for scorers of what a running prior has weighed: that is known frame by frame.
    """
    if memory.prior is not None and memory.prior.final > 0.0 and any(scorers):
        raise PlanningError("no scorer can be replayed over a running prior of final answers")
    probabilities = [stage.probabilities for stage in stages]
    networks = stages_of(probabilities, rule, thresholds, entry, scorers)
    told = fresh_answers(*probabilities[0].shape)
    taps, states = _taps_of(stages, memory, exits, thumbnails)
    run_frames(networks, taps, told)
    # Segments are counted over all stages, one behind the last tap of each.
    whole = taps.starts[told.stage + 1] + 1
    step = np.where(told.tap == NEVER, whole, told.tap + 1) + told.stage
    step[told.by == THUMBNAILS] = 0
    return StatefulReplay(
        told.answer,
        told.stage,
        told.tap,
        told.by,
        step,
        told.decided,
        networks.entry,
        every_array(taps.plan, states),
    )


def _taps_of(
    stages: Sequence[TappedStage], memory: Memory, exits: ExitThresholds, thumbnails: Floats
) -> tuple[Taps, list[TapState]]:
    """What the compiled loop takes, with nothing remembered, and the state of each tap in it.

    Everything is padded with zeros to one width, which changes no cosine: so all plans are of one
    type, and are compiled once.
    """
    frames, classes = stages[0].probabilities.shape
    arrays = [found for stage in stages for found in stage.arrays]
    models = tap_models([tap for stage in stages for tap in stage.taps], arrays)
    fresh = fresh_tap_states(memory, models, arrays, classes)
    widths = [len(model.mean) for model in models]
    width = max(widths, default=1)
    vectors = [vector for stage in stages for vector in stage.vectors]
    every = TapState(
        Entries(
            _padded([state.entries.vectors for state in fresh], (memory.instances, width)),
            _padded([state.entries.said for state in fresh], (memory.instances, classes)),
            np.full((len(fresh), memory.instances), NEVER, np.int64),
        ),
        _padded([state.centres for state in fresh], (classes, width)),
        _padded([state.norms for state in fresh], (classes,)),
        _padded([state.members for state in fresh], (classes,)),
    )
    taps = Taps(
        np.cumsum([0, *(len(stage.taps) for stage in stages)]),
        _padded([v[:, :w] for v, w in zip(vectors, widths, strict=True)], (frames, width)),
        _padded([found for stage in stages for found in stage.logits], (frames, classes)),
        np.array([[m.head_temperature, m.centre_temperature] for m in models]).reshape(-1, 2),
        np.array([[m.instances, m.centres, m.heads] for m in models], np.bool_).reshape(-1, 3),
        np.zeros(0, np.float32),
        np.require(thumbnails, np.float32, ["C", "W"]),
        memory.thumbnails > 0,
        every,
        fresh_plan_state(memory, classes),
        _typed(rules_of(memory, exits)),
    )
    return taps, [_part(state_of(tap, *every), own) for tap, own in enumerate(fresh)]


def _padded(arrays: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    """All in one array (arrays, *shape), the rest zero."""
    found = np.zeros((len(arrays), *shape), np.float32)
    for place, array in zip(found, arrays, strict=True):
        place[tuple(slice(size) for size in array.shape)] = array
    return found


def _part(padded: TapState, own: TapState) -> TapState:
    """Of a padded state what the tap's own has: the same memory, nothing is copied."""

    def cut(array: Floats, like: Floats) -> Floats:
        return array[tuple(slice(size) for size in like.shape)]

    entries = Entries(*map(cut, padded.entries, own.entries))
    return TapState(entries, *map(cut, padded[1:], own[1:]))


def _typed(rules: Rules) -> Rules:
    """Every number of the type that is declared: 6 and 6.0 are two types to a compiler."""
    kinds = get_type_hints(Rules).values()
    return Rules(*(kind(value) for kind, value in zip(kinds, rules, strict=True)))
