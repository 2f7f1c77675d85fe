"""What a plan is: formats, options, stages, operating points. Plain data, JSON both ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from trimtab_runtime.codec import content_key
from trimtab_runtime.definitions.exits import (
    EXIT_KINDS,
    NO_MEMORY,
    NO_THRESHOLDS,
    Exits,
    ExitThresholds,
    Memory,
    Tap,
)
from trimtab_runtime.definitions.routers import Router, Scorer
from trimtab_runtime.formats import (
    COLOURS,
    DTYPES,
    LAYOUTS,
    OUTPUT_KINDS,
    RESIZE_FILTERS,
    InputFormat,
    OutputFormat,
    Quantisation,
    one_of,
)
from trimtab_runtime.metrics import find_metric

__all__ = [
    "COLOURS",
    "DTYPES",
    "ENGINES",
    "GRAPH_LEVELS",
    "LAYOUTS",
    "OUTPUT_KINDS",
    "RESIZE_FILTERS",
    "ROUTES",
    "RULES",
    "InputFormat",
    "OperatingPoint",
    "OutputFormat",
    "PlanDefinition",
    "Quantisation",
    "RuntimeOptions",
    "Stage",
    "Structure",
    "Variant",
]

ENGINES = ("onnxruntime", "litert")
GRAPH_LEVELS = ("all", "extended", "basic", "none")
ROUTES = ("single", "cascade", "premodel")
RULES = ("last", "mean")


@dataclass(frozen=True)
class RuntimeOptions:
    """How an engine runs a variant. `spinning` lets idle threads of onnxruntime burn a core:
    fastest alone, ruinous beside a second session (DESIGN.md)."""

    engine: str
    provider: str = "default"
    threads: int = 1
    spinning: bool = False
    graph_optimisation: str = "all"

    def __post_init__(self) -> None:
        one_of("engine", self.engine, ENGINES)
        one_of("graph_optimisation", self.graph_optimisation, GRAPH_LEVELS)
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"1 <= threads <= 1024 must hold, got {self.threads}")

    @property
    def numeric_key(self) -> str:
        """The part of the options that may change an answer's bits."""
        return f"{self.engine}/{self.provider}/{self.graph_optimisation}"


@dataclass(frozen=True)
class Variant:
    """One runnable artefact: the file is named by its sha256."""

    name: str
    sha256: str
    format: str
    size_bytes: int
    input: InputFormat
    output: OutputFormat

    def __post_init__(self) -> None:
        one_of("format", self.format, ("onnx", "tflite"))

    @property
    def file_name(self) -> str:
        return f"{self.sha256}.{self.format}"


@dataclass(frozen=True)
class Stage:
    """A variant (by sha256) with its options; `temperature` calibrates its probabilities. With
    `exits` it runs in segments; a `scorer` says its confidence, else its largest probability is
    it."""

    variant: str
    options: RuntimeOptions
    temperature: float = 1.0
    exits: Optional[Exits] = None
    scorer: Optional[Scorer] = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature > 0 must hold, got {self.temperature}")


@dataclass(frozen=True)
class OperatingPoint:
    """The numbers that may change without reloading.

    Stage i answers when its confidence is at least `thresholds[i]`; the last stage always does.
    `exits` say when an earlier end answers, `price` what a router takes a millisecond to be worth.
    `metrics` holds what was predicted for the point (names of metrics.py).
    """

    thresholds: tuple[float, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    exits: ExitThresholds = NO_THRESHOLDS
    price: float = 0.0

    def __post_init__(self) -> None:
        for name in self.metrics:
            try:
                find_metric(name)
            except ValueError as error:
                raise ValueError(f"metrics: {error}") from None


@dataclass(frozen=True)
class Structure:
    """A plan without its operating point: the route, its stages and how answers are combined.

    `rule` 'last' decides on the last stage's answer, 'mean' on the mean of the calibrated
    probabilities of all stages that ran. `memory` is what lasts from frame to frame. On the route
    'premodel' a `router` picks the stage where an input enters; on the others that is the first.
    """

    route: str
    stages: tuple[Stage, ...]
    rule: str = "last"
    memory: Memory = NO_MEMORY
    router: Optional[Router] = None

    def __post_init__(self) -> None:
        one_of("route", self.route, ROUTES)
        one_of("rule", self.rule, RULES)
        if not self.stages or (self.route == "single") != (len(self.stages) == 1):
            raise ValueError(f"a {self.route} plan cannot have {len(self.stages)} stage(s)")
        sessions = len(self.stages) + len(self.taps)
        if sessions > 1 and any(stage.options.spinning for stage in self.stages):
            raise ValueError("spinning must be off where several sessions share a process")
        kinds = {kind for tap in self.taps for kind in tap.kinds}
        if ("instances" in kinds) != (self.memory.instances > 0):
            raise ValueError("a tap remembers instances exactly where the memory has room")
        if ("centres" in kinds) != (self.memory.centres is not None):
            raise ValueError("a tap has centres exactly where the memory says how they answer")
        if self.stages[-1].scorer is not None:
            raise ValueError("the last stage always answers: it needs no scorer")
        self._check_router()

    def _check_router(self) -> None:
        router = self.router
        if (self.route == "premodel") != (router is not None):
            raise ValueError("a router belongs to the route premodel, and to no other")
        if router is None:
            return
        if len(router.costs_ms) != len(self.stages):
            raise ValueError(f"{len(self.stages)} costs_ms needed, got {len(router.costs_ms)}")
        if router.looks_at.at_tap and self.stages[0].exits is None:
            raise ValueError(f"a router of kind {router.kind} needs a tap in the first stage")
        if self.memory != NO_MEMORY:
            raise ValueError("a plan with a router remembers nothing: of exits only heads fit it")

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The taps of all stages, in the order in which an input passes them."""
        return tuple(tap for stage in self.stages if stage.exits for tap in stage.exits.taps)

    @property
    def deciders(self) -> tuple[str, ...]:
        """sha256 of the models of the router and the scorers, each once."""
        found = [self.router.model] if self.router else []
        found += [stage.scorer.model for stage in self.stages if stage.scorer]
        return tuple(dict.fromkeys(found))

    @property
    def exit_kinds(self) -> tuple[str, ...]:
        """What may answer early (of EXIT_KINDS)."""
        kinds = {kind for tap in self.taps for kind in tap.kinds}
        if self.memory.thumbnails:
            kinds.add("thumbnails")
        return tuple(kind for kind in EXIT_KINDS if kind in kinds)

    def check_thresholds(
        self, thresholds: tuple[float, ...], exits: ExitThresholds, price: float = 0.0
    ) -> None:
        """Raises ValueError unless these fit the stages, what may answer early and the router."""
        if price != 0.0 and (self.router is None or not price > 0.0):
            raise ValueError(f"price >= 0 must hold, 0 without a router; got {price}")
        if len(thresholds) != len(self.stages) - 1:
            raise ValueError(
                f"{len(self.stages) - 1} threshold(s) needed, got {len(thresholds)}: thresholds "
                f"{thresholds} do not fit the stages"
            )
        own = self.exit_kinds
        for kind in EXIT_KINDS:
            if getattr(exits, kind) is not None and kind not in own:
                raise ValueError(
                    f"exits.{kind} has a threshold, but only {', '.join(own) or 'nothing'} may "
                    "answer early"
                )

    @property
    def stops_early(self) -> bool:
        """Whether an input may be answered before any network has run to its end, or answers
        depend on earlier ones."""
        return any(tap.kinds for tap in self.taps) or self.memory != NO_MEMORY

    @property
    def key(self) -> str:
        return content_key(self)


@dataclass(frozen=True)
class PlanDefinition:
    """A deployable choice: a structure at one operating point."""

    structure: Structure
    thresholds: tuple[float, ...] = ()
    exits: ExitThresholds = NO_THRESHOLDS
    price: float = 0.0

    def __post_init__(self) -> None:
        self.structure.check_thresholds(self.thresholds, self.exits, self.price)

    @property
    def key(self) -> str:
        """sha256 of the definition; the store and the CLI name plans by its first digits."""
        return content_key(self)
