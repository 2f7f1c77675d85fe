"""Plans with early exits or a memory: their design, and its evaluation.

A *design* is such a plan without its thresholds and files: options, the taps of each stage with
the kinds that are asked there, and the memory. Its worth on a stream is replayed exactly
(trimtab.search.replay), its cost follows from the steps that frames come to (step_costs.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trimtab.search.costs.correction import Correction
from trimtab.search.costs.segmented import FrameOverheads, SegmentedCosts, StageSegments
from trimtab.search.costs.stage import Doubles
from trimtab.search.estimates.guard import EARLY_CAUTION, REUSE_CAUTION
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.plans.design import Kind, chain_label
from trimtab.search.plans.problem import Problem
from trimtab.search.replay.cascade import Replay
from trimtab.search.replay.stateful import StatefulReplay, TappedStage, replay_stateful
from trimtab_runtime.codec import content_key
from trimtab_runtime.definitions.exits import NO_MEMORY, NO_THRESHOLDS, ExitThresholds, Memory, Tap
from trimtab_runtime.definitions.plan import PlanDefinition, Structure
from trimtab_runtime.memory.semantic import TapArrays

#: A tap's number among those of its option, and the kinds that are asked there.
TapChoice = tuple[int, tuple[str, ...]]


@dataclass(frozen=True)
class Equipment:
    """What taps of one option are equipped with: `arrays` a tap, `vectors` (inputs, channels)
    that these standardise, over the whole workload."""

    arrays: tuple[TapArrays, ...]
    vectors: tuple[Floats, ...]


@dataclass(frozen=True)
class Tapped:
    """An option that can be cut at `names`: its `fitted` equipment, the `published` one (vectors
    as they are), and the `logits` (inputs, classes) of a head at each tap."""

    names: tuple[str, ...]
    fitted: Equipment
    published: Equipment
    logits: tuple[Floats, ...]


@dataclass(frozen=True)
class ExitDesign:
    """A plan that stops early, without thresholds; `taps` one tuple a stage. `published`: taps
    work on vectors as they are. `label` names a baseline, such as 'hold last'."""

    options: tuple[int, ...]
    rule: str
    taps: tuple[tuple[TapChoice, ...], ...]
    memory: Memory
    published: bool = False
    label: str = ""

    @property
    def key(self) -> str:
        return content_key(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that may answer early."""
        asked = {kind for stage in self.taps for _, kinds in stage for kind in kinds}
        found = ["thumbnails"] if self.memory.thumbnails else []
        return (*found, *(k for k in ("instances", "centres", "heads") if k in asked))

    @property
    def text(self) -> str:
        """A few words for people."""
        if self.label:
            return self.label
        taps = [kinds for stage in self.taps for _, kinds in stage]
        found = []
        if self.memory.thumbnails:
            found.append(f"{self.memory.thumbnails} thumbnails")
        if taps:
            found.append(f"{' + '.join(taps[0])} at {len(taps)} tap{'s' * (len(taps) > 1)}")
        return ", ".join(found + ["running prior"] * (self.memory.prior is not None))

    @property
    def only_reuses(self) -> bool:
        """Whether every answer is one that a whole network gave, of this or of another frame."""
        prior = self.memory.prior
        final = prior is not None and prior.final > 0.0
        return set(self.kinds) <= {"thumbnails", "instances"} and not final

    @property
    def is_static(self) -> bool:
        """Whether no answer depends on an earlier one."""
        return self.memory == NO_MEMORY


@dataclass(frozen=True)
class Thresholds:
    """An operating point of a design: confidences of all stages but the last, and of exits."""

    stages: tuple[float, ...] = ()
    exits: ExitThresholds = NO_THRESHOLDS


@dataclass(frozen=True)
class ExitPoint:
    """A design at one operating point, on tune: the share of frames that reach each step, quality
    as replayed and as conservatively estimated (`guarded`), and the mean latency with its standard
    error due to the choice of frames."""

    design: ExitDesign
    thresholds: Thresholds
    reach: tuple[float, ...]
    replayed: dict[str, float]
    guarded: dict[str, float]
    latency_mean_ms: float
    latency_error_ms: float


@dataclass(frozen=True)
class Early:
    """What designs are made from. `thumbnails` (inputs, size) of the whole workload; `tapped` and
    `chains` by the numbers of options (every option has a chain); `overheads` of a plan that
    remembers. `measured` are the costs of designs that were measured as they are, by key."""

    problem: Problem
    thumbnails: Floats
    tapped: Mapping[int, Tapped]
    chains: Mapping[int, StageSegments]
    overheads: FrameOverheads
    correction: Correction
    measured: Mapping[str, SegmentedCosts]

    def replay(
        self,
        design: ExitDesign,
        thresholds: Thresholds,
        rows: Ints,
        entry: Ints | None = None,
    ) -> StatefulReplay:
        """Run the plan over inputs in the order of `rows`, from an empty memory. They come in at
        stage `entry` (rows,), by default at the first."""
        stages = [
            self._stage(option, taps, design.published, rows)
            for option, taps in zip(design.options, design.taps, strict=True)
        ]
        return replay_stateful(
            stages,
            design.rule,
            thresholds.stages,
            design.memory,
            thresholds.exits,
            self.thumbnails[rows],
            entry,
        )

    def costs(self, design: ExitDesign) -> SegmentedCosts:
        """As measured, or composed of the segments of each option."""
        known = self.measured.get(design.key)
        if known is not None:
            return known
        chains = [
            self.chains[option].merged([tap for tap, _ in taps]) if taps else self._whole(option)
            for option, taps in zip(design.options, design.taps, strict=True)
        ]
        none = np.zeros(0)
        used = self.overheads
        overheads = FrameOverheads(
            used.thumbnails if design.memory.thumbnails else none,
            none if design.is_static else used.learning,
        )
        return SegmentedCosts(chains, overheads, correction=self.correction)

    def worth(self, design: ExitDesign, thresholds: Thresholds) -> ExitPoint:
        """Quality and latency on tune."""
        problem, costs = self.problem, self.costs(design)
        found = self.replay(design, thresholds, problem.tune)
        reach = found.reach(costs.steps)
        caution = REUSE_CAUTION if design.only_reuses else EARLY_CAUTION
        spent = np.cumsum(costs.step_ms())[found.step]
        judged = {m: problem.guard.of(m, found.decided, caution) for m in problem.metrics}
        return ExitPoint(
            design,
            thresholds,
            tuple(float(share) for share in reach),
            {metric: replayed for metric, (replayed, _) in judged.items()},
            {metric: guarded for metric, (_, guarded) in judged.items()},
            float(costs.mean_ms(reach[None])[0]),
            problem.guard.error(spent),
        )

    def _whole(self, option: int) -> StageSegments:
        """Without the look-ups that are measured in `chains`."""
        cost = self.problem.options[option].cost
        return StageSegments((cost,), cost.values, cost.size_mb)

    def _stage(
        self, option: int, taps: Sequence[TapChoice], published: bool, rows: Ints
    ) -> TappedStage:
        probabilities = self.problem.options[option].probabilities[rows]
        if not taps:
            return TappedStage(probabilities)
        tapped = self.tapped[option]
        used = tapped.published if published else tapped.fitted
        nothing = np.zeros((0, probabilities.shape[1]), np.float32)
        return TappedStage(
            probabilities,
            tuple(Tap(tapped.names[tap], "", kinds) for tap, kinds in taps),
            tuple(used.arrays[tap] for tap, _ in taps),
            tuple(used.vectors[tap][rows] for tap, _ in taps),
            tuple(tapped.logits[tap][rows] if "heads" in k else nothing for tap, k in taps),
        )


@dataclass(frozen=True, eq=False)
class BuiltExits:
    """A design that stops early as a plan (see PlanDesign): made of what `early` knows, with the
    `structure` that its files were built for, the thresholds of its exits, the share of frames of
    tune that come to each step, and the standard error that they give its mean latency."""

    early: Early
    design: ExitDesign
    structure: Structure
    exits: ExitThresholds
    steps: tuple[float, ...]
    latency_error_ms: float

    kind: ClassVar[Kind] = "exits"

    @property
    def rival(self) -> str:
        return self.design.label

    @property
    def remembers(self) -> bool:
        return not self.design.is_static

    @property
    def costs(self) -> SegmentedCosts:
        return self.early.costs(self.design)

    def definition(self, thresholds: tuple[float, ...]) -> PlanDefinition:
        return PlanDefinition(self.structure, thresholds, self.exits)

    def label(
        self, names: Sequence[str], reach: Sequence[float], thresholds: Sequence[float]
    ) -> str:
        return f"{chain_label(names, reach, self.design.rule)}: {self.design.text}"

    def replay(self, thresholds: tuple[float, ...], rows: Ints) -> StatefulReplay:
        return self.early.replay(self.design, Thresholds(thresholds, self.exits), rows)

    def part_shares(self, reach: Sequence[float]) -> Doubles:
        return np.array(self.steps)

    def replayed_shares(self, found: Replay | StatefulReplay) -> Doubles:
        return found.reach(self.costs.steps)
