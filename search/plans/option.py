"""What plans are composed of."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.targets import Floats
from trimtab_runtime.definitions.plan import Stage


@dataclass(frozen=True)
class StageOption:
    """A traced and measured variant with its options: something that can be a stage.

    `probabilities` (inputs, classes) are calibrated and cover the whole workload. `alone` marks
    options that only a plan of one stage may use (spinning threads).
    """

    name: str
    stage: Stage
    cost: StageCost
    probabilities: Floats
    alone: bool = False
