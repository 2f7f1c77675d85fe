"""Plans with a router or with scorers: what they are made of, replayed exactly.

A *design* is such a plan without its operating point: options, what was learned for them, and how
answers are combined. Its operating points are swept in routed_sweep.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.quality import Floats, Ints
from search.replay import Replay, Scoring, replay
from search.routed_costs import RoutedCosts, paths
from trimtab_runtime.definition import PlanDefinition, Structure
from trimtab_runtime.formats import InputFormat
from trimtab_runtime.routing import entries

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Premodel:
    """A trained router: its ONNX `file`, its `scores` (inputs, stages) on the whole workload, and
    what it looks at as trimtab_runtime.routers.Router says. `label` is a word for people. The
    `published` one is used as it was published: whoever it picks answers."""

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
class Routed:
    """A plan with a `premodel`, with `scorers` (one a stage, None: the largest probability), or
    with both, without its operating point. `costs_ms` is what entering at each stage costs."""

    options: tuple[int, ...]
    rule: str
    premodel: Premodel | None
    scorers: tuple[LearnedScorer | None, ...]
    costs_ms: tuple[float, ...]

    @property
    def text(self) -> str:
        """A few words for people."""
        words = [f"premodel {self.premodel.label}"] if self.premodel else []
        deferral = {f"{scorer.label} deferral": None for scorer in self.scorers if scorer}
        return " + ".join([*words, *deferral])

    @property
    def kind(self) -> str:
        """What it routes by: 'published', or what a premodel looks at, or the label of scorers."""
        if self.premodel is not None:
            return "published" if self.premodel.published else self.premodel.kind
        return next(scorer.label for scorer in self.scorers if scorer is not None)

    @property
    def scoring(self) -> list[Scoring | None]:
        """How sure each stage is."""
        return [None if scorer is None else scorer.score for scorer in self.scorers]

    def entry(self, rows: Ints, price: float) -> Ints:
        """The stage (n,) where inputs enter."""
        if self.premodel is None:
            return np.zeros(len(rows), np.int64)
        found: Ints = entries(self.premodel.scores[rows], self.costs_ms, price)
        return found

    def replay(
        self,
        probabilities: Sequence[Floats],
        thresholds: Sequence[float],
        price: float,
        rows: Ints,
    ) -> Replay:
        """What the plan answers on `rows`; `probabilities` (inputs, classes), one an option of the
        problem, cover the whole workload."""
        own = [probabilities[option][rows] for option in self.options]
        return replay(own, self.rule, thresholds, self.entry(rows, price), self.scoring)

    def path_shares(self, found: Replay) -> Doubles:
        """The share of inputs on each path (paths,)."""
        told = paths(len(self.options), self.premodel is not None)
        return np.array([float(((found.entry == e) & (found.stage == s)).mean()) for e, s in told])


@dataclass(frozen=True)
class BuiltRouted:
    """What makes a plan a routed one: its design, the `structure` with the files that it was built
    of, its price, the share of inputs on each path, and what it costs."""

    design: Routed
    structure: Structure
    price: float
    paths: tuple[float, ...]
    costs: RoutedCosts

    def definition(self, thresholds: tuple[float, ...]) -> PlanDefinition:
        """The plan at an operating point."""
        return PlanDefinition(self.structure, thresholds, price=self.price)

    @property
    def rival(self) -> str:
        """What a plan is called that others must be compared with; '' for any other."""
        premodel = self.design.premodel
        return self.design.text if premodel is not None and premodel.published else ""
