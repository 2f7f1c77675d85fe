"""Choosing without being fooled by luck.

The best of thousands of plans on a finite sample is partly the luckiest (measured on the
ImageNet zoo: 1.5 points). Two things are done about it, both decided on `tune` alone:

1. *Plans are compared under soft labels.* The class probabilities of the strongest variants
   (by likelihood on `fit`), averaged, stand in for the labels: every input then counts with all
   its uncertainty instead of with one throw of the dice, and no label of `tune` is used. (A deep
   ensemble as a calibrated judge: Lakshminarayanan et al., NeurIPS 2017; distillation's soft
   targets: Hinton et al., 2015.) What is on the front is decided so.
2. *Labels judge what is left.* The labelled figure of a plan on that front is given as its paired
   difference to the baseline less `CAUTION` standard errors: the guarded estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.quality import Floats, Ints, Targets
from search.replay import replay

#: Standard errors of the paired difference to the baseline that are taken off.
CAUTION = 0.5


def soft_labels(probabilities: Sequence[Floats], fit: Ints, targets: Ints) -> Floats:
    """(inputs, classes): the mean of the better half of the variants.

    `probabilities` one (inputs, classes) a variant, calibrated; better is the smaller negative
    log-likelihood of `targets` on the rows `fit`.
    """
    losses = [-np.log(np.maximum(p[fit, targets], 1e-9)).mean() for p in probabilities]
    best = np.argsort(losses)[: (len(probabilities) + 1) // 2]
    found: Floats = np.mean([probabilities[i] for i in best], axis=0, dtype=np.float32)
    return found


@dataclass(frozen=True)
class Judgement:
    """A quality metric on `tune`: as replayed, and guarded."""

    replayed: float
    guarded: float


class Judge:
    """Judges plans against a baseline on the labelled rows of `tune`."""

    def __init__(self, targets: Targets, baseline: Floats, caution: float = CAUTION) -> None:
        self._targets, self._caution = targets, caution
        self._baseline = {
            metric: targets.values(metric, baseline).astype(np.float64)
            for metric in targets.metrics
        }

    def judge(
        self, probabilities: Sequence[Floats], rule: str, thresholds: Sequence[float]
    ) -> dict[str, Judgement]:
        """Every metric of a plan; `probabilities` one (n, classes) a stage, on `tune`."""
        decided = replay(probabilities, rule, thresholds).decided
        found = {}
        for metric in self._targets.metrics:
            values = self._targets.values(metric, decided).astype(np.float64)
            difference: NDArray[np.float64] = values - self._baseline[metric]
            error = float(difference.std()) / np.sqrt(len(difference))
            replayed = float(values.mean())
            found[metric] = Judgement(replayed, replayed - self._caution * error)
        return found
