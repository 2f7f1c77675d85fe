"""What the replay of a plan that stops early tells (that it is what a device answers:
test_search_loops.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from early_plans import TAP_KINDS, InventedStream
from told_plans import ToldPlan

from trimtab.search.replay.stateful import TappedStage, replay_stateful
from trimtab_runtime.definitions.exits import Centres, ExitThresholds, Memory, Prior

FRAMES = 240


def one(kinds: tuple[str, ...], memory: Memory, classes: int = 6, seed: int = 3) -> ToldPlan:
    stream = InventedStream(FRAMES, classes, np.random.default_rng(seed))
    return ToldPlan(stream, [[kinds]], memory)


def test_without_thresholds_the_network_answers() -> None:
    memory = Memory(thumbnails=4, instances=4, centres=Centres(), prior=Prior())
    plan = one(TAP_KINDS, memory)
    found = plan.replay([], ExitThresholds())
    assert set(found.by) == {0}
    assert set(found.tap) == {-1}
    assert set(found.step) == {2}
    expected = plan.tapped[0].probabilities
    assert (found.decided == expected).all()
    assert (found.answer == expected.argmax(1)).all()


def test_steps_count_thumbnails_and_segments() -> None:
    memory = Memory(thumbnails=8)
    plan = ToldPlan(
        InventedStream(FRAMES, 4, np.random.default_rng(5)), [[("heads",)], []], memory
    )
    found = plan.replay([0.8], ExitThresholds(thumbnails=5.0, heads=0.8))
    assert set(found.step[found.by == 1]) == {0}
    assert set(found.step[found.tap == 0]) == {1}
    network = found.by == 0
    assert (found.step[network & (found.stage == 0)] == 2).all()
    assert (found.step[network & (found.stage == 1)] == 3).all()
    reach = found.reach(4)
    assert reach[0] == 1.0
    assert (np.diff(reach) <= 0).all()
    assert reach[1] == pytest.approx(1 - (found.by == 1).mean())


def test_a_replay_starts_from_an_empty_memory() -> None:
    memory = Memory(thumbnails=8, instances=8, centres=Centres(window=20), prior=Prior())
    plan = one(TAP_KINDS, memory)
    exits = ExitThresholds(6.0, 0.8, 0.6, 0.9)
    first, again = plan.replay([], exits), plan.replay([], exits)
    assert (first.by == again.by).all()
    assert (first.decided == again.decided).all()
    assert first.by[0] in (0, 3, 4)


def test_later_frames_change_nothing_before_them() -> None:
    memory = Memory(thumbnails=8, instances=8, centres=Centres(window=20), prior=Prior())
    plan = one(TAP_KINDS, memory)
    exits = ExitThresholds(6.0, 0.8, 0.6, 0.9)
    whole = plan.replay([], exits)
    stage: Any = plan.tapped[0]
    part = replay_stateful(
        [
            TappedStage(
                stage.probabilities[:100],
                stage.taps,
                stage.arrays,
                tuple(v[:100] for v in stage.vectors),
                tuple(x[:100] for x in stage.logits),
            )
        ],
        "last",
        [],
        memory,
        exits,
        plan.stream.thumbnails[:100],
    )
    assert (part.decided == whole.decided[:100]).all()
    assert (part.by == whole.by[:100]).all()
