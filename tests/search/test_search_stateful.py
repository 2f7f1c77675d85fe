"""The replay of plans that stop early against the device's own loop, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from early_plans import TAP_KINDS, Frame, InventedStream, Told, standardised

from trimtab.search.replay.stateful import StatefulReplay, TappedStage, replay_stateful
from trimtab_runtime.definitions.exits import Centres, Exits, ExitThresholds, Memory, Prior
from trimtab_runtime.definitions.plan import OperatingPoint, RuntimeOptions, Stage, Structure
from trimtab_runtime.memory.states import TapArrays
from trimtab_runtime.plans.early_exits import make_recall
from trimtab_runtime.plans.loop import Found, run_plan

FRAMES = 240
#: Frames that this file has compared, and how many were answered by whom.
SEEN = np.zeros(5, np.int64)


class Plan:
    """A plan over an invented stream, for the device's loop and for the replay."""

    def __init__(
        self,
        stream: InventedStream,
        taps: Sequence[Sequence[tuple[str, ...]]],
        memory: Memory,
        rule: str = "last",
    ) -> None:
        random = stream.generator
        self.stream, self.memory, self.rule = stream, memory, rule
        self.told, self.tapped, self.arrays, stages = [], [], [], []
        for number, asked in enumerate(taps):
            found = [
                stream.tap(f"{number}.{tap}", kinds, int(random.integers(3, 20)), 1.2 - tap / 4)
                for tap, kinds in enumerate(asked)
            ]
            said = stream.probabilities(3.0 + number)
            own_taps = tuple(tap for tap, *_ in found)
            own_arrays: list[TapArrays] = [arrays for _, arrays, *_ in found]
            raw, logits = [f[2] for f in found], [f[3] for f in found]
            self.told.append(Told(own_taps, raw, logits, said))
            nothing = np.zeros((0, stream.classes), np.float32)
            self.tapped.append(
                TappedStage(
                    said,
                    own_taps,
                    tuple(own_arrays),
                    tuple(standardised(v, t, a) for t, a, v, _ in found),
                    tuple(x if "heads" in t.kinds else nothing for t, _, _, x in found),
                )
            )
            self.arrays.append(own_arrays)
            exits = Exits(own_taps, "", "") if own_taps else None
            stages.append(Stage(str(number), RuntimeOptions("onnxruntime"), exits=exits))
        route = "single" if len(stages) == 1 else "cascade"
        self.structure = Structure(route, tuple(stages), rule, memory)

    def replay(self, thresholds: Sequence[float], exits: ExitThresholds) -> StatefulReplay:
        thumbnails = self.stream.thumbnails
        return replay_stateful(self.tapped, self.rule, thresholds, self.memory, exits, thumbnails)

    def device(self, thresholds: Sequence[float], exits: ExitThresholds) -> list[Found]:
        recall = make_recall(self.structure, self.arrays, self.stream.classes)
        recall.use(exits)
        point, frames = OperatingPoint(tuple(thresholds), exits=exits), range(self.stream.frames)
        thumbnails = self.stream.thumbnails
        return [
            run_plan(self.told, self.rule, point, Frame(number, thumbnails), recall)
            for number in frames
        ]


def assert_alike(replayed: StatefulReplay, device: Sequence[Found]) -> None:
    for name in ("answer", "stage", "tap", "by"):
        found = [getattr(frame, name) for frame in device]
        assert getattr(replayed, name).tolist() == found, name
    decided = np.stack([frame.probabilities for frame in device])
    np.testing.assert_allclose(replayed.decided, decided, rtol=1e-4, atol=1e-6)
    SEEN[:] += np.bincount(replayed.by, minlength=5)


def random_plan(seed: int) -> tuple[Plan, list[float], ExitThresholds]:
    random = np.random.default_rng(seed)
    taps: list[list[tuple[str, ...]]] = []
    for _ in range(int(random.integers(1, 4))):
        chosen: list[tuple[str, ...]] = []
        for _ in range(int(random.integers(0, 4))):
            kinds = tuple(kind for kind in TAP_KINDS if random.random() < 0.5)
            if kinds:
                chosen.append(kinds)
        taps.append(chosen)
    asked = {kind for stage in taps for kinds in stage for kind in kinds}
    centres = Centres(
        measure=str(random.choice(["ac", "probability"])),
        window=int(random.choice([0, 1, 7, 25])),
        hot_share=float(random.choice([0.3, 0.8, 0.95, 1.0])),
        update=str(random.choice(["none", "exits", "all"])),
    )
    prior = Prior(
        decay=float(random.uniform(0.5, 0.99)),
        smoothing=float(random.uniform(0.1, 2)),
        weight=float(random.choice([0.0, 0.7, 2.0])),
        final=float(random.choice([0.0, 0.0, 0.6])),
    )
    memory = Memory(
        thumbnails=int(random.choice([0, 1, 6, 20])),
        instances=int(random.choice([1, 5, 16])) if "instances" in asked else 0,
        centres=centres if "centres" in asked else None,
        prior=prior if random.random() < 0.6 else None,
    )
    stream = InventedStream(FRAMES, int(random.integers(2, 12)), random)
    plan = Plan(stream, taps, memory, str(random.choice(["last", "mean"])))

    def maybe(low: float, high: float) -> float | None:
        return float(random.uniform(low, high)) if random.random() < 0.8 else None

    levels = ExitThresholds(
        thumbnails=maybe(3, 7) if memory.thumbnails else None,
        instances=maybe(0.2, 0.95) if "instances" in asked else None,
        centres=(maybe(0.4, 0.95) if centres.measure == "probability" else maybe(0.1, 2.0))
        if "centres" in asked
        else None,
        heads=maybe(0.5, 0.99) if "heads" in asked else None,
    )
    return plan, [float(random.uniform(0.3, 0.95)) for _ in taps[1:]], levels


@pytest.mark.timeout(300)  # the first compiles
@pytest.mark.parametrize("block", range(6))
def test_the_device_and_the_replay_agree_on_every_frame(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        plan, thresholds, exits = random_plan(seed)
        assert_alike(plan.replay(thresholds, exits), plan.device(thresholds, exits))
    if block == 5:
        assert (SEEN > 100).all(), f"some kind hardly ever answered: {SEEN}"


def one(kinds: tuple[str, ...], memory: Memory, classes: int = 6, seed: int = 3) -> Plan:
    stream = InventedStream(FRAMES, classes, np.random.default_rng(seed))
    return Plan(stream, [[kinds]], memory)


def test_the_stream_of_one_class_keeps_two_classes_hot() -> None:
    """Nobody else has a score: the second is a tie of all others, decided alike by both."""
    plan = one(("centres",), Memory(centres=Centres(window=5, update="all")))
    plan.tapped[0].probabilities[:] = np.eye(6, dtype=np.float32)[4]
    plan.told[0].probabilities = plan.tapped[0].probabilities
    for level in (0.05, 0.5, 1e9):
        exits = ExitThresholds(centres=level)
        assert_alike(plan.replay([], exits), plan.device([], exits))


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
    plan = Plan(InventedStream(FRAMES, 4, np.random.default_rng(5)), [[("heads",)], []], memory)
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
