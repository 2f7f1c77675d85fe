"""How many frames a second does the compiled replay of a plan that remembers take? (One part of
replay_speed.py.)"""

from __future__ import annotations

import time

import numpy as np

from trimtab.search.replay.stateful import StatefulReplay, TappedStage, replay_stateful
from trimtab_runtime.definitions.exits import Centres, ExitThresholds, Memory, Tap
from trimtab_runtime.memory.semantic import Recall, TapArrays

CHANNELS, CLASSES, FRAMES = (16, 32, 64, 64), 100, 20_000
_PLAIN = 500  # frames of a turn that the device's own loop takes
_MEMORY = Memory(centres=Centres(update="all"))
_THRESHOLDS = ExitThresholds(centres=1.2)
_NO_THUMBNAILS = np.zeros((FRAMES, 1), np.float32)


def stateful_figures(turns: int) -> dict[str, float]:
    """Four taps, 100 classes, running centres, every class looked up; checked against the loop
    that runs on a device, whose speed is measured in turns with it."""
    stage = _random_stage(np.random.default_rng(1))
    _replayed(stage)  # compiles
    ours, plain = [], []
    for _ in range(turns):
        start = time.perf_counter()
        found = _replayed(stage)
        ours.append(FRAMES / (time.perf_counter() - start))
        start = time.perf_counter()
        told = _plain(stage)
        plain.append(_PLAIN / (time.perf_counter() - start))
        seen = np.stack([found.answer, found.tap], axis=1)[:_PLAIN]
        assert (seen == told).mean() > 0.999, "the two loops disagree"
    speed, reference = float(np.median(ours)), float(np.median(plain))
    stopped = float((found.tap >= 0).mean())
    return {
        "stateful_frames_per_s": speed,
        "plain_frames_per_s": reference,
        "stateful_ratio": speed / reference,
        "stateful_stopped_early": stopped,
    }


def _random_stage(generator: np.random.Generator) -> TappedStage:
    """Frames of classes whose vectors lie the closer to their centre the later the tap."""
    labels = generator.integers(CLASSES, size=FRAMES)
    taps, arrays, vectors = [], [], []
    for number, channels in enumerate(CHANNELS):
        centres = generator.normal(size=(CLASSES, channels)).astype(np.float32)
        noise = generator.normal(size=(FRAMES, channels), scale=4.0 / (number + 1))
        flat = np.zeros(channels, np.float32)
        taps.append(Tap(f"tap{number}", "", ("centres",)))
        members = np.ones(CLASSES, np.float32)
        arrays.append(TapArrays(flat, flat + 1, centres, members, np.ones(2, np.float32)))
        vectors.append((centres[labels] + noise).astype(np.float32))
    probabilities = generator.dirichlet(np.ones(CLASSES), FRAMES).astype(np.float32)
    nothing = tuple(np.zeros((0, CLASSES), np.float32) for _ in CHANNELS)
    return TappedStage(probabilities, tuple(taps), tuple(arrays), tuple(vectors), nothing)


def _replayed(stage: TappedStage) -> StatefulReplay:
    return replay_stateful([stage], "last", (), _MEMORY, _THRESHOLDS, _NO_THUMBNAILS)


def _plain(stage: TappedStage) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Answer and tap (frames, 2) of the first frames, by what runs on a device."""
    recall = Recall(_MEMORY, stage.taps, stage.arrays, CLASSES)
    recall.use(_THRESHOLDS)
    told = np.zeros((_PLAIN, 2), np.int64)
    for frame in range(_PLAIN):
        recall.begin()
        said = None
        for vectors in stage.vectors:
            said = recall.at_tap(vectors[frame], None)
            if said is not None:
                break
        if said is None:
            said = recall.weighed(stage.probabilities[frame])
        answer = int(said.argmax())
        told[frame] = answer, recall.finish(said, answer)[1]
    return told
