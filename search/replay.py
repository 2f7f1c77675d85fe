"""Exact replay of one plan over traces: the answers that the bundle would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.quality import Floats, Ints, Targets
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

    def metrics(self, targets: Targets) -> dict[str, Floats]:
        """Per-input values (n,) of every metric that the targets can give."""
        return {name: targets.values(name, self.decided) for name in targets.metrics}


def replay(probabilities: Sequence[Floats], rule: str, thresholds: Sequence[float]) -> Replay:
    """Run a plan over `probabilities`, one (n, classes) a stage.

    The device's own arithmetic (trimtab_runtime.routing): stage i answers where the confidence
    is at least thresholds[i].
    """
    count = len(probabilities[0])
    stage: Ints = np.full(count, -1, np.int64)
    answer: Ints = np.zeros(count, np.int64)
    confidence: Floats = np.zeros(count, np.float32)
    decided: Floats = np.zeros_like(probabilities[0])
    total: Floats | None = None
    for position, found in enumerate(probabilities):
        total = combine(total, found, position, rule)
        index, best = decide(total)
        stops = stage < 0
        if position < len(probabilities) - 1:
            stops &= best.astype(np.float64) >= thresholds[position]
        stage[stops], answer[stops], confidence[stops] = position, index[stops], best[stops]
        decided[stops] = total[stops]
    return Replay(answer, stage, confidence, decided)
