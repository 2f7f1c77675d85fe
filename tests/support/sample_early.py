"""A made-up network with two taps on a stream, as the search for early exits sees it.

The network takes 10 ms whole; in segments 3.2, 3.2 and 4 ms, look-ups included; a fifth more where
the frame before did not run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from trimtab.search.costs.correction import Correction
from trimtab.search.costs.segmented import FrameOverheads, StageSegments
from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.guard import Guard
from trimtab.search.estimates.targets import Targets
from trimtab.search.exits.design import Early, Equipment, Tapped
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.problem import Problem
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions, Stage
from trimtab_runtime.memory.semantic import TapArrays

Array = np.ndarray[Any, np.dtype[Any]]

CLASSES, CHANNELS, SIDE = 4, 6, 192
WHOLE_MS, SEGMENTS_MS = 10.0, (3.2, 3.2, 4.0)
TAPS = ("early", "late")
FIT = 80
_FORMAT, _OPTIONS = InputFormat((8, 8)), RuntimeOptions("onnxruntime")
_VALUES = {"load_ms": 1.0, "peak_mb": 50.0}


@dataclass(frozen=True)
class Stream:
    """What a camera sees: a label (frames,) and a thumbnail (frames, SIDE) a frame, and which
    frames (frames,) show the same, so that a network says the same of them."""

    labels: Array
    thumbnails: Array
    shown: Array


def independent(frames: int = 300, seed: int = 0) -> Stream:
    """Every frame another photograph, of any class."""
    generator = np.random.default_rng([seed, 1])
    labels = generator.permutation(np.arange(frames) % CLASSES)
    return Stream(labels, generator.uniform(0, 255, (frames, SIDE)), np.arange(frames))


def dwelling(objects: int = 20, stay: int = 15, seed: int = 0) -> Stream:
    """Objects that stay in view, nearly still."""
    generator = np.random.default_rng([seed, 2])
    shown = np.repeat(np.arange(objects), stay)
    thumbnails = generator.uniform(0, 255, (objects, SIDE))[shown]
    labels = generator.integers(0, CLASSES, objects)[shown]
    return Stream(labels, thumbnails + generator.normal(0, 1, thumbnails.shape), shown)


def stretches(count: int = 5, length: int = 60, seed: int = 0) -> Stream:
    """Every frame another photograph, of one class for a while."""
    generator = np.random.default_rng([seed, 3])
    labels = np.repeat(np.arange(count) % CLASSES, length)
    frames = count * length
    return Stream(labels, generator.uniform(0, 255, (frames, SIDE)), np.arange(frames))


def stage_cost(milliseconds: float) -> StageCost:
    """Constant times."""
    samples = {
        f"{context}_{part}_ms": np.full(64, slower * milliseconds * (part == "inference"))
        for context, slower in (("hot", 1.0), ("beside", 1.2))
        for part in ("resize", "tensor", "inference")
    }
    return StageCost(_FORMAT, _OPTIONS, _VALUES, samples, 1.0)


def said_of(labels: Array, shown: Array, skill: float, generator: np.random.Generator) -> Array:
    """Calibrated log-probabilities (frames, classes) of something that tells classes apart by
    Gaussian evidence of unit variance, `skill` apart; alike where frames show the same."""
    evidence = generator.standard_normal((int(shown.max()) + 1, CLASSES))[shown]
    evidence[np.arange(len(labels)), labels] += skill
    return special.log_softmax(skill * evidence, axis=1).astype(np.float32)


def make_early(
    stream: Stream, skills: tuple[float, float, float] = (1.0, 1.5, 4.0), seed: int = 0
) -> Early:
    """One option (number 0) with taps; `skills` are those of both taps and of the network. Rows
    of fit come first, then the stream (tune)."""
    generator = np.random.default_rng([seed, 4])
    labels = np.concatenate([np.arange(FIT) % CLASSES, stream.labels])
    shown = np.concatenate([np.arange(FIT), FIT + stream.shown])
    tune = np.arange(FIT, len(labels))
    thumbnails = np.concatenate([generator.uniform(0, 255, (FIT, SIDE)), stream.thumbnails])
    fitted, published, logits = [], [], []
    for skill in skills[:2]:
        logits.append(said_of(labels, shown, skill, generator))
        noise = generator.standard_normal((int(shown.max()) + 1, CHANNELS))[shown]
        raw = (noise + 3 + skill * np.eye(CLASSES, CHANNELS)[labels]).astype(np.float32)
        mean, scale = raw[:FIT].mean(0), 1 / raw[:FIT].std(0)
        for found, m, s in ((fitted, mean, scale), (published, 0 * mean, 0 * scale + 1)):
            vectors = (raw - m) * s
            centres = np.stack([vectors[:FIT][labels[:FIT] == c].mean(0) for c in range(CLASSES)])
            members = np.bincount(labels[:FIT], minlength=CLASSES).astype(np.float32)
            temperatures = np.array([1.0, 0.2], np.float32)
            found.append((TapArrays(m, s, centres, members, temperatures), vectors))
    network = np.exp(said_of(labels, shown, skills[2], generator))
    option = StageOption("net", Stage("net" * 8, _OPTIONS), stage_cost(WHOLE_MS), network)
    problem = Problem(
        [option],
        tune,
        Guard(Targets(labels[tune], network[tune].argmax(1)), network[tune]),
        ["top1", "agreement"],
        [Objective("top1"), Objective("latency_mean_ms")],
    )
    return Early(
        problem,
        thumbnails.astype(np.float32),
        {0: Tapped(TAPS, _equipment(fitted), _equipment(published), tuple(logits))},
        {0: StageSegments(tuple(stage_cost(ms) for ms in SEGMENTS_MS), _VALUES, 1.5)},
        FrameOverheads(np.full(64, 0.05), np.full(64, 0.02)),
        Correction(),
        {},
    )


def _equipment(found: list[tuple[TapArrays, Array]]) -> Equipment:
    return Equipment(tuple(arrays for arrays, _ in found), tuple(vectors for _, vectors in found))


def labels_of(early: Early) -> Array:
    """Labels (frames,) of tune."""
    labels = early.problem.guard.targets.labels
    assert labels is not None
    return labels


def plain_quality(early: Early) -> float:
    """Top-1 of the network alone, on tune."""
    answers = early.problem.options[0].probabilities[early.problem.tune].argmax(1)
    return float((answers == labels_of(early)).mean())
