"""Exact replay of one plan over traces: the answers that the bundle would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.quality import Floats, Ints
from trimtab_runtime.routing import combine, decide


@dataclass(frozen=True)
class Replay:
    """Per input: `answer` and `stage` (n,) int64, `confidence` (n,), and `decided`
    (n, classes), the probabilities that the answer was read from."""

    answer: Ints
    stage: Ints
    confidence: Floats
    decided: Floats

    def reach(self, stages: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Share of inputs that reach each stage (stages,)."""
        return np.array([float((self.stage >= s).mean()) for s in range(stages)])


def stopping(confidence: Sequence[Floats], thresholds: Sequence[float]) -> Ints:
    """The stage (n,) that answers each input: the first one whose confidence, (n,) a stage, is
    at least its threshold; else the last."""
    stage: Ints = np.full(len(confidence[0]), len(confidence) - 1, np.int64)
    for position in reversed(range(len(confidence) - 1)):
        stage[confidence[position].astype(np.float64) >= thresholds[position]] = position
    return stage


def replay(probabilities: Sequence[Floats], rule: str, thresholds: Sequence[float]) -> Replay:
    """Run a plan over `probabilities`, one (n, classes) a stage.

    The device's own arithmetic (trimtab_runtime.routing): stage i answers where the confidence
    is at least thresholds[i].
    """
    totals: list[Floats] = []
    for position, found in enumerate(probabilities):
        totals.append(combine(totals[-1] if totals else None, found, position, rule))
    said = [decide(total) for total in totals]
    stage = stopping([best for _, best in said], thresholds)
    answer: Ints = np.zeros(len(stage), np.int64)
    confidence: Floats = np.zeros(len(stage), np.float32)
    decided: Floats = np.zeros_like(probabilities[0])
    for position, (total, (index, best)) in enumerate(zip(totals, said, strict=True)):
        here = stage == position
        answer[here], confidence[here], decided[here] = index[here], best[here], total[here]
    return Replay(answer, stage, confidence, decided)
