"""Semantic memories of a few classes and taps, and frames to show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab_runtime.definitions.exits import Centres, ExitThresholds, Memory, Prior, Tap
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.memory.states import TapArrays


def vector(*values: float) -> Any:
    return np.array(values, np.float32)


def arrays(centres: Sequence[Sequence[float]] = (), channels: int = 2) -> TapArrays:
    return TapArrays(
        np.zeros(channels, np.float32),
        np.ones(channels, np.float32),
        np.array(centres, np.float32).reshape(-1, channels),
        np.ones(len(centres), np.float32),
        np.ones(2, np.float32),
    )


def recall_of(
    kinds: tuple[str, ...],
    remembered: Memory,
    thresholds: ExitThresholds,
    classes: int = 3,
    taps: int = 1,
    centres: Sequence[Sequence[float]] = (),
) -> Recall:
    named = [Tap(f"tap{number}", "", kinds) for number in range(taps)]
    found = Recall(remembered, named, [arrays(centres)] * taps, classes)
    found.use(thresholds)
    return found


def one_hot(index: int, classes: int = 3) -> Any:
    return np.eye(classes, dtype=np.float32)[index]


def learn(recall: Recall, seen: Any, answer: int, logits: Any = None) -> tuple[int, int]:
    """A frame with one tap; the network answers where the tap does not."""
    recall.begin()
    said = recall.at_tap(seen, logits)
    said = one_hot(answer, recall.classes) if said is None else said.copy()
    return recall.finish(said, int(said.argmax()))


def full(seed: int = 0, capacity: int = 4, frames: int = 40) -> Recall:
    """A memory of every kind after some frames."""
    random = np.random.default_rng(seed)
    remembered = Memory(
        capacity, capacity, Centres("probability", window=7, update="all"), Prior(final=0.5)
    )
    taps = [Tap("a", "", ("instances", "centres", "heads")), Tap("b", "", ("centres",))]
    found = [arrays(random.normal(0, 1, (3, 2))), arrays(random.normal(0, 1, (3, 5)), 5)]
    recall = Recall(remembered, taps, found, 3)
    recall.use(ExitThresholds(20.0, 0.99, 0.7, 0.9))
    for frame in range(frames):
        play(recall, random, frame)
    return recall


def play(recall: Recall, random: Any, frame: int) -> tuple[int, int]:
    recall.begin()
    said = recall.at_thumbnail(random.uniform(0, 255, 192).astype(np.float32))
    for channels in (2, 5):
        if said is None:
            logits = random.normal(0, 2, 3).astype(np.float32) if channels == 2 else None
            said = recall.at_tap(random.normal(0, 1, channels).astype(np.float32), logits)
    said = recall.weighed(one_hot(frame % 3)) if said is None else said.copy()
    return recall.finish(said, int(said.argmax()))
