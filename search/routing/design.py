"""Plans with a router or with scorers: their design, and its exact replay.

A *design* is such a plan without its operating point: options, what was learned for them, and how
answers are combined. Its operating points are swept in routed_sweep.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.search.costs.routed import Path, RoutedCosts, paths
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.exits.design import Early, ExitDesign, TapChoice, Thresholds
from trimtab.search.plans.design import Kind
from trimtab.search.replay.cascade import Replay, Scoring, replay
from trimtab.search.replay.stateful import StatefulReplay
from trimtab_runtime.definitions.exits import NO_MEMORY, NO_THRESHOLDS, ExitThresholds
from trimtab_runtime.definitions.plan import PlanDefinition, Structure
from trimtab_runtime.definitions.routers import FEATURE_KINDS
from trimtab_runtime.formats import InputFormat
from trimtab_runtime.plans.routing import entries

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainedRouter:
    """A trained router: its ONNX `file`, its `scores` (inputs, stages) on the whole workload, and
    what it looks at as trimtab_runtime.definitions.routers.Router says. `label` is a word for
    people. The `published` one is used as it was published: whoever it picks answers."""

    label: str
    file: bytes
    scores: Floats
    kind: str
    names: tuple[str, ...] = ()
    input: InputFormat | None = None
    published: bool = False


@dataclass(frozen=True, eq=False)
class LearnedScorer:
    """A scorer: a word for people, its ONNX `file`, and what it says of probabilities."""

    label: str
    file: bytes
    score: Scoring


@dataclass(frozen=True, eq=False)
class Heads:
    """Linear heads that may answer inside the stages of a routed plan: at `taps` (one tuple a
    stage) of what `early` knows."""

    early: Early
    taps: tuple[tuple[TapChoice, ...], ...]


@dataclass(frozen=True)
class HeadedReplay(Replay):
    """With heads: per input the `tap` that answered, numbered over all stages (-1: none), `by`
    whom (trimtab_runtime.memory.kernel), and how many segments `ran` of the stage where it
    stopped."""

    tap: Ints
    by: Ints
    ran: Ints


@dataclass(frozen=True, eq=False)
class RoutedDesign:
    """A plan with a `router`, with `scorers` (one a stage, None: the largest probability), or
    with both, without its operating point. `costs_ms` is what entering at each stage costs;
    `heads` may answer inside the stages of a plan without scorers."""

    options: tuple[int, ...]
    rule: str
    router: TrainedRouter | None
    scorers: tuple[LearnedScorer | None, ...]
    costs_ms: tuple[float, ...]
    heads: Heads | None = None

    @property
    def text(self) -> str:
        """A few words for people."""
        words = [f"premodel {self.router.label}"] if self.router else []
        deferral = {f"{scorer.label} deferral": None for scorer in self.scorers if scorer}
        taps = sum(map(len, self.heads.taps)) if self.heads else 0
        heads = [f"heads at {taps} tap{'s' * (taps > 1)}"] if taps else []
        return " + ".join([*words, *deferral, *heads])

    @property
    def kind(self) -> str:
        """What it routes by: 'published', or what a router reads, or the label of scorers;
        and whether there are heads."""
        if self.router is not None:
            own = "published" if self.router.published else self.router.kind
            return f"{own} + heads" if self.heads else own
        return next(scorer.label for scorer in self.scorers if scorer is not None)

    @property
    def scoring(self) -> list[Scoring | None]:
        """What tells the confidence of each stage; None: its largest probability."""
        return [None if scorer is None else scorer.score for scorer in self.scorers]

    def entry(self, rows: Ints, price: float) -> Ints:
        """The stage (n,) where inputs enter."""
        if self.router is None:
            return np.zeros(len(rows), np.int64)
        found: Ints = entries(self.router.scores[rows], self.costs_ms, price)
        return found

    @property
    def reads_tap(self) -> bool:
        """Whether the first stage has a tap that is the router's alone."""
        return self.router is not None and FEATURE_KINDS[self.router.kind].at_tap

    @property
    def ends(self) -> list[tuple[int, ...]]:
        """Of each stage, the numbers of segments after which it may answer."""
        taps = self.heads.taps if self.heads else ((),) * len(self.options)
        first = [1 + (self.reads_tap and stage == 0) for stage in range(len(taps))]
        return [(*range(f, f + 1 + len(own)),) for f, own in zip(first, taps, strict=True)]

    @property
    def paths(self) -> list[Path]:
        """The ways that inputs may take."""
        return paths(self.ends, self.router is not None)

    def replay(
        self,
        probabilities: Sequence[Floats],
        thresholds: Sequence[float],
        price: float,
        rows: Ints,
        exits: ExitThresholds = NO_THRESHOLDS,
    ) -> Replay:
        """What the plan answers on `rows`; `probabilities` (inputs, classes), one an option of the
        problem, cover the whole workload."""
        entry = self.entry(rows, price)
        if self.heads is not None:
            return self._replay_heads(
                self.heads, Thresholds(tuple(thresholds), exits), entry, rows
            )
        own = [probabilities[option][rows] for option in self.options]
        return replay(own, self.rule, thresholds, entry, self.scoring)

    def _replay_heads(
        self, heads: Heads, thresholds: Thresholds, entry: Ints, rows: Ints
    ) -> HeadedReplay:
        """A plan that stops early and remembers nothing. The router's own tap, which answers
        nothing, is not replayed, but has the first number."""
        plan = ExitDesign(self.options, self.rule, heads.taps, NO_MEMORY)
        found = heads.early.replay(plan, thresholds, rows, entry)
        starts = np.cumsum([0, *(1 + len(taps) for taps in heads.taps)])
        return HeadedReplay(
            found.answer,
            found.stage,
            found.decided.max(1),
            found.decided,
            entry,
            np.where(found.tap < 0, -1, found.tap + self.reads_tap),
            found.by,
            found.step - starts[found.stage] + (self.reads_tap & (found.stage == 0)),
        )

    def path_shares(self, found: Replay) -> Doubles:
        """The share of inputs on each path (paths,)."""
        here = [(found.entry == e) & (found.stage == s) for e, s, _ in self.paths]
        if isinstance(found, HeadedReplay):
            ran = [path[2] for path in self.paths]
            here = [own & (found.ran == r) for own, r in zip(here, ran, strict=True)]
        return np.array([float(own.mean()) for own in here])


@dataclass(frozen=True, eq=False)
class BuiltRouted:
    """A routed design as a plan (see PlanDesign): its design, `probabilities` (inputs, classes) of
    all options over the whole workload, the `structure` with the files that it was built of, its
    price, the share of inputs of tune on each path, what it costs, and from where on its heads
    answer."""

    design: RoutedDesign
    probabilities: Sequence[Floats]
    structure: Structure
    price: float
    paths: tuple[float, ...]
    costs: RoutedCosts
    exits: ExitThresholds = NO_THRESHOLDS

    kind: ClassVar[Kind] = "routed"
    remembers: ClassVar[bool] = False
    latency_error_ms: ClassVar[None] = None

    @property
    def rival(self) -> str:
        router = self.design.router
        return self.design.text if router is not None and router.published else ""

    def definition(self, thresholds: tuple[float, ...]) -> PlanDefinition:
        return PlanDefinition(self.structure, thresholds, self.exits, self.price)

    def label(
        self, names: Sequence[str], reach: Sequence[float], thresholds: Sequence[float]
    ) -> str:
        """The stages with the share of inputs that run each: '|' between those of which an input
        runs one, an arrow where it may run several; then what routes."""
        shares = [f"{name} ({share:.0%})" for name, share in zip(names, reach, strict=True)]
        between = " → " if any(t > 0.0 for t in thresholds) else " | "
        if self.design.router is None:
            shares[0] = names[0]
        combined = " mean" if self.design.rule == "mean" and between == " → " else ""
        return f"{between.join(shares)}{combined}: {self.design.text}"

    def replay(self, thresholds: tuple[float, ...], rows: Ints) -> Replay:
        return self.design.replay(self.probabilities, thresholds, self.price, rows, self.exits)

    def part_shares(self, reach: Sequence[float]) -> Doubles:
        return np.array(self.paths)

    def replayed_shares(self, found: Replay | StatefulReplay) -> Doubles:
        assert isinstance(found, Replay)
        return self.design.path_shares(found)
