"""What every way of combining stages has in common, and the plainest one: a cascade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from trimtab.search.costs.base import PlanCosts
from trimtab.search.costs.stage import Doubles
from trimtab.search.estimates.targets import Ints
from trimtab.search.plans.option import StageOption
from trimtab.search.replay.cascade import Replay, replay
from trimtab.search.replay.stateful import StatefulReplay
from trimtab_runtime.definitions.plan import PlanDefinition, Structure

Kind = Literal["cascade", "exits", "routed"]


class PlanDesign(Protocol):
    """How the stages of a plan are combined, at one operating point but for the `thresholds` of
    its stages, which a :class:`trimtab.search.plans.plan.ComposedPlan` holds.

    `kind` names the technique. `rival` is what a plan is called that others must be compared
    with, and '' for any other. `remembers` says that an answer may depend on earlier inputs.
    `latency_error_ms` is the standard error that the choice of frames gives the mean latency;
    None where latency does not depend on it. `costs` are by the share of inputs that come to
    each part of the plan.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def rival(self) -> str: ...

    @property
    def remembers(self) -> bool: ...

    @property
    def latency_error_ms(self) -> float | None: ...

    @property
    def costs(self) -> PlanCosts: ...

    def definition(self, thresholds: tuple[float, ...]) -> PlanDefinition:
        """The plan itself."""

    def label(
        self, names: Sequence[str], reach: Sequence[float], thresholds: Sequence[float]
    ) -> str:
        """One line: the stages, by their `names`, and the share of inputs that reach each."""

    def replay(self, thresholds: tuple[float, ...], rows: Ints) -> Replay | StatefulReplay:
        """What the plan answers on `rows` of the workload, in this order, remembering nothing."""

    def part_shares(self, reach: Sequence[float]) -> Doubles:
        """The share of tune that comes to each part that `costs` tells apart (parts,); `reach` is
        the share that comes to each stage."""

    def replayed_shares(self, found: Replay | StatefulReplay) -> Doubles:
        """The same of a replay."""


def chain_label(names: Sequence[str], reach: Sequence[float], rule: str) -> str:
    """The stages one behind another, each with the share of inputs that reach it."""
    parts = [names[0]] + [
        f"{name} ({share:.0%})" for name, share in zip(names[1:], reach[1:], strict=True)
    ]
    return " → ".join(parts) + (" mean" if rule == "mean" else "")


@dataclass(frozen=True, eq=False)
class CascadeDesign:
    """One stage, or several of which each answers unless it is too unsure (see PlanDesign)."""

    stages: Sequence[StageOption]
    rule: str
    costs: PlanCosts

    kind: ClassVar[Kind] = "cascade"
    rival: ClassVar[str] = ""
    remembers: ClassVar[bool] = False
    latency_error_ms: ClassVar[None] = None

    def definition(self, thresholds: tuple[float, ...]) -> PlanDefinition:
        stages = tuple(option.stage for option in self.stages)
        route = "single" if len(stages) == 1 else "cascade"
        return PlanDefinition(Structure(route, stages, self.rule), thresholds)

    def label(
        self, names: Sequence[str], reach: Sequence[float], thresholds: Sequence[float]
    ) -> str:
        return chain_label(names, reach, self.rule)

    def replay(self, thresholds: tuple[float, ...], rows: Ints) -> Replay:
        own = [option.probabilities[rows] for option in self.stages]
        return replay(own, self.rule, thresholds)

    def part_shares(self, reach: Sequence[float]) -> Doubles:
        return np.array(reach)

    def replayed_shares(self, found: Replay | StatefulReplay) -> Doubles:
        return found.reach(len(self.stages))
