"""The contract of the two loops: for random plans of every kind the compiled replay answers what
the device answers, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from early_plans import TAP_KINDS, InventedStream
from sample_routers import sha256_of, write_linear_router, write_margin_scorer
from told_plans import ToldPlan

from trimtab.search.replay.stateful import StatefulReplay
from trimtab_runtime.definitions.exits import (
    NO_MEMORY,
    NO_THRESHOLDS,
    Centres,
    ExitThresholds,
    Memory,
    Prior,
)
from trimtab_runtime.definitions.plan import InputFormat
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.plans.loop import ANSWERED_BY, Found

FRAMES = 160
Kinds = Sequence[Sequence[tuple[str, ...]]]


@dataclass(frozen=True)
class Case:
    """A plan at one operating point."""

    plan: ToldPlan
    thresholds: list[float]
    exits: ExitThresholds = NO_THRESHOLDS
    price: float = 0.0


def assert_alike(case: Case) -> tuple[StatefulReplay, list[Found]]:
    """The same answers, ways and memories. Compiled code may round the last digit otherwise."""
    plan, recall = case.plan, case.plan.recall()
    replayed = plan.replay(case.thresholds, case.exits, case.price)
    device = plan.device(case.thresholds, case.exits, case.price, recall)
    for name in ("answer", "stage", "tap", "by", "entry"):
        told = [getattr(frame, name) for frame in device]
        assert getattr(replayed, name).tolist() == told, name
    decided = np.stack([frame.probabilities for frame in device])
    np.testing.assert_allclose(replayed.decided, decided, rtol=1e-4, atol=1e-6)
    if recall is None:
        assert replayed.decided.tobytes() == decided.tobytes()
        assert_plain(case, device)
    else:
        assert_remembered(replayed, recall)
    return replayed, device


def assert_remembered(replayed: StatefulReplay, recall: Recall) -> None:
    learned = recall.snapshot()
    assert learned.keys() == replayed.remembered.keys()
    for name, array in learned.items():
        found = replayed.remembered[name]
        assert (found.shape, found.dtype) == (array.shape, array.dtype), name
        if array.dtype.kind == "i":
            assert found.tolist() == array.tolist(), name
        else:
            np.testing.assert_allclose(found, array, rtol=1e-3, atol=1e-4, err_msg=name)


def assert_plain(case: Case, device: Sequence[Found]) -> None:
    """The replay that knows no taps, to the last bit."""
    found = case.plan.replay_plain(case.thresholds, case.price)
    for name in ("answer", "stage", "entry"):
        assert getattr(found, name).tolist() == [getattr(frame, name) for frame in device], name
    assert found.decided.tobytes() == np.stack([f.probabilities for f in device]).tobytes()
    if not any(case.plan.scorers):
        assert found.confidence.tolist() == [frame.confidence for frame in device]


# ---- plans of every kind -----------------------------------------------------------------------


class Draw:
    """Plans at random, from a seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self._folder = np.random.default_rng(seed), folder
        self.classes = int(self.random.integers(2, 12))

    def plan(self, taps: Kinds, memory: Memory = NO_MEMORY, scored: bool = False) -> ToldPlan:
        file = write_margin_scorer(self._folder / f"{self.classes}.onnx", self.classes)
        scorers = [file if scored else None] * (len(taps) - 1)
        stream = InventedStream(FRAMES, self.classes, self.random)
        return ToldPlan(stream, taps, memory, str(self.random.choice(["last", "mean"])), scorers)

    def thresholds(self, plan: ToldPlan) -> list[float]:
        return [float(self.random.uniform(0.3, 0.95)) for _ in plan.told[1:]]

    def cascade(self) -> Case:
        """Single models, cascades and deferral."""
        stages, scored = int(self.random.integers(1, 4)), bool(self.random.integers(2))
        plan = self.plan([[]] * stages, scored=scored)
        return Case(plan, self.thresholds(plan))

    def routed(self, heads: bool = False) -> Case:
        """Routed plans that look at an image or at the first tap; some with scorers."""
        stages, kind = int(self.random.integers(2, 4)), str(self.random.choice(["tensor", "tap"]))
        own: list[list[tuple[str, ...]]] = [[] for _ in range(stages)]
        if kind == "tap":
            own[0].append(())
        for taps in own:
            taps += [("heads",)] * (int(self.random.integers(1, 3)) if heads else 0)
        plan = self.plan(own, scored=bool(self.random.integers(2)))
        seen = plan.told[0].vectors[0] if kind == "tap" else plan.stream.thumbnails[:, :3]
        weight = self.random.normal(0, 1, (stages, seen.shape[1])) / seen.std(0)
        file = write_linear_router(self._folder / "router.onnx", weight, -weight @ seen.mean(0))
        costs_ms = tuple(float(cost) for cost in np.sort(self.random.uniform(0, 3, stages)))
        reads = InputFormat((1, 1)) if kind == "tensor" else None
        plan.routed_by(Router(sha256_of(file), kind, costs_ms, input=reads), file)
        exits = ExitThresholds(heads=float(self.random.uniform(0.5, 0.9))) if heads else None
        price = float(self.random.choice([0.0, 0.5]))
        return Case(plan, self.thresholds(plan), exits or NO_THRESHOLDS, price)

    def headed(self) -> Case:
        """Heads inside routed plans."""
        return self.routed(heads=True)

    def remembering(self) -> Case:
        """Early exits of every kind, with memories."""
        taps = [
            [asked for _ in range(int(self.random.integers(0, 4))) if (asked := self._kinds())]
            for _ in range(int(self.random.integers(1, 4)))
        ]
        asked = {kind for stage in taps for kinds in stage for kind in kinds}
        memory = self._memory(asked)
        final = memory.prior.final if memory.prior else 0.0
        plan = self.plan(taps, memory, scored=final == 0.0 and self.random.random() < 0.3)
        return Case(plan, self.thresholds(plan), self._exits(asked, memory))

    def _kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in TAP_KINDS if self.random.random() < 0.5)

    def _memory(self, asked: set[str]) -> Memory:
        random = self.random
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
        return Memory(
            thumbnails=int(random.choice([0, 1, 6, 20])),
            instances=int(random.choice([1, 5, 16])) if "instances" in asked else 0,
            centres=centres if "centres" in asked else None,
            prior=prior if random.random() < 0.6 else None,
        )

    def _exits(self, asked: set[str], memory: Memory) -> ExitThresholds:
        def maybe(low: float, high: float) -> float | None:
            return float(self.random.uniform(low, high)) if self.random.random() < 0.8 else None

        likely = memory.centres is not None and memory.centres.measure == "probability"
        return ExitThresholds(
            thumbnails=maybe(3, 7) if memory.thumbnails else None,
            instances=maybe(0.2, 0.95) if "instances" in asked else None,
            centres=maybe(*(0.4, 0.95) if likely else (0.1, 2.0)) if "centres" in asked else None,
            heads=maybe(0.5, 0.99) if "heads" in asked else None,
        )


@pytest.mark.parametrize(
    ("kind", "plans", "met"),
    [
        ("cascade", 24, {"network", "stage 0", "stage 1", "stage 2", "scored", "last", "mean"}),
        ("routed", 24, {"network", "entry 1", "entry 2", "escalated", "scored", "tap", "tensor"}),
        ("headed", 24, {"network", "heads", "entry 1", "escalated", "scored", "tap", "tensor"}),
        ("remembering", 60, {*ANSWERED_BY, "stage 1", "stage 2", "scored", "prior", "mean"}),
    ],
)
def test_the_device_and_the_replay_agree(
    kind: str, plans: int, met: set[str], tmp_path: Path
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(plans):
        case: Case = getattr(Draw(seed, tmp_path), kind)()
        replayed, device = assert_alike(case)
        seen.update(_met(case, replayed, device))
    rare = {name: seen[name] for name in met if seen[name] < 30}
    assert not rare, f"hardly ever met, so hardly tested: {rare}"


def _met(case: Case, replayed: StatefulReplay, device: Sequence[Found]) -> Counter[str]:
    """Frames of which something holds."""
    plan, found = case.plan, Counter[str]()
    found.update(ANSWERED_BY[frame.by] for frame in device)
    found.update(f"stage {frame.stage}" for frame in device)
    found.update(f"entry {frame.entry}" for frame in device)
    found.update("escalated" for frame in device if frame.stage > frame.entry)
    always = {
        plan.rule: True,
        "scored": any(plan.scorers),
        "prior": plan.memory.prior is not None,
        plan.router.router.kind if plan.router else "": True,
    }
    found.update({name: len(device) for name, holds in always.items() if holds})
    return found


# ---- corners -----------------------------------------------------------------------------------


def test_the_stream_of_one_class_keeps_two_classes_hot() -> None:
    """Nobody else has a score: the second is a tie of all others, decided alike by both."""
    memory = Memory(centres=Centres(window=5, update="all"))
    stream = InventedStream(FRAMES, 6, np.random.default_rng(3))
    plan = ToldPlan(stream, [[("centres",)]], memory)
    plan.told[0].probabilities[:] = np.eye(6, dtype=np.float32)[4]
    for level in (0.05, 0.5, 1e9):
        assert_alike(Case(plan, [], ExitThresholds(centres=level)))


@pytest.mark.parametrize("tied", [0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 0)])
def test_a_confidence_equal_to_its_threshold_is_enough(tied: float, tmp_path: Path) -> None:
    plan = Draw(1, tmp_path).plan([[], []])
    plan.told[0].probabilities[:] = 0.0
    plan.told[0].probabilities[:, :2] = 0.5  # of equals the first answers
    replayed, _ = assert_alike(Case(plan, [tied]))
    assert set(replayed.stage) == {int(tied > 0.5)}


def test_a_memory_that_was_filled_answers_otherwise(tmp_path: Path) -> None:
    """The replay begins with an empty one, and so must the device for them to agree."""
    plan: Any = Draw(3, tmp_path).plan([[("instances",)]], Memory(instances=8))
    case = Case(plan, [], ExitThresholds(instances=0.5))
    replayed, device = assert_alike(case)
    recall = plan.recall()
    plan.device(case.thresholds, case.exits, recall=recall)
    again = plan.device(case.thresholds, case.exits, recall=recall)
    assert [frame.by for frame in again] != [frame.by for frame in device]
    assert replayed.by[0] == 0
