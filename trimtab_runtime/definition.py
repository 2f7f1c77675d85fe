"""What a plan is: formats, options, stages, operating points. Plain data, JSON both ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from trimtab_runtime.codec import content_key
from trimtab_runtime.exits import (
    EXIT_KINDS,
    NO_MEMORY,
    NO_THRESHOLDS,
    Exits,
    ExitThresholds,
    Memory,
    Tap,
)
from trimtab_runtime.metrics import find_metric

RESIZE_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
LAYOUTS = ("nchw", "nhwc")
DTYPES = ("float32", "uint8", "int8")
COLOURS = ("rgb", "bgr", "gray")
OUTPUT_KINDS = ("logits", "probabilities")
ENGINES = ("onnxruntime", "litert")
GRAPH_LEVELS = ("all", "extended", "basic", "none")
ROUTES = ("single", "cascade")
RULES = ("last", "mean")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class Quantisation:
    """real = (stored - zero_point) * scale."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale > 0 must hold, got {self.scale}")
        if not -(2**31) <= self.zero_point < 2**31:
            raise ValueError(f"zero_point must fit 32 bits, got {self.zero_point}")


@dataclass(frozen=True)
class InputFormat:
    """How a decoded image becomes the model's input tensor.

    The image (optionally its central `crop` fraction) is resized to `size` (height, width), put
    into `colour` order, and each channel becomes (pixel - mean) / std. `mean` and `std` are in
    units of pixels (0..255). A quantised input is then stored by its `quantisation`; with mean 0
    and std 1, uint8 takes the pixel itself and int8 the pixel - 128.
    """

    size: tuple[int, int]
    resize: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"
    dtype: str = "float32"
    colour: str = "rgb"
    crop: float = 1.0
    quantisation: Optional[Quantisation] = None

    def __post_init__(self) -> None:
        _one_of("resize", self.resize, RESIZE_FILTERS)
        _one_of("layout", self.layout, LAYOUTS)
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("colour", self.colour, COLOURS)
        if min(self.size) < 1 or max(self.size) > 16384:
            raise ValueError(f"1 <= size <= 16384 must hold, got {self.size}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"0 < crop <= 1 must hold, got {self.crop}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} needs 1 or {self.channels} values")
        if any(value == 0 for value in self.std):
            raise ValueError(f"std must not be zero, got {self.std}")

    @property
    def channels(self) -> int:
        return 1 if self.colour == "gray" else 3


@dataclass(frozen=True)
class OutputFormat:
    """What the model's output vector means. The first `offset` entries are background."""

    kind: str = "logits"
    offset: int = 0
    quantisation: Optional[Quantisation] = None

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, OUTPUT_KINDS)
        if self.offset < 0:
            raise ValueError(f"offset >= 0 must hold, got {self.offset}")


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
        _one_of("engine", self.engine, ENGINES)
        _one_of("graph_optimisation", self.graph_optimisation, GRAPH_LEVELS)
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
        _one_of("format", self.format, ("onnx", "tflite"))

    @property
    def file_name(self) -> str:
        return f"{self.sha256}.{self.format}"


@dataclass(frozen=True)
class Stage:
    """A variant (by sha256) with its options; `temperature` calibrates its probabilities. With
    `exits` it runs in segments."""

    variant: str
    options: RuntimeOptions
    temperature: float = 1.0
    exits: Optional[Exits] = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature > 0 must hold, got {self.temperature}")


@dataclass(frozen=True)
class OperatingPoint:
    """The numbers that may change without reloading.

    Stage i answers when its confidence is at least `thresholds[i]`; the last stage always does.
    `exits` say when an earlier end answers. `metrics` holds what was predicted for the point
    (names of metrics.py).
    """

    thresholds: tuple[float, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    exits: ExitThresholds = NO_THRESHOLDS

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
    probabilities of all stages so far. `memory` is what lasts from frame to frame.
    """

    route: str
    stages: tuple[Stage, ...]
    rule: str = "last"
    memory: Memory = NO_MEMORY

    def __post_init__(self) -> None:
        _one_of("route", self.route, ROUTES)
        _one_of("rule", self.rule, RULES)
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

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The taps of all stages, in the order in which an input passes them."""
        return tuple(tap for stage in self.stages if stage.exits for tap in stage.exits.taps)

    @property
    def exit_kinds(self) -> tuple[str, ...]:
        """What may answer early (of EXIT_KINDS)."""
        kinds = {kind for tap in self.taps for kind in tap.kinds}
        if self.memory.thumbnails:
            kinds.add("thumbnails")
        return tuple(kind for kind in EXIT_KINDS if kind in kinds)

    def check_thresholds(self, thresholds: tuple[float, ...], exits: ExitThresholds) -> None:
        """Raises ValueError unless these fit the stages and what may answer early."""
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
        return bool(self.taps) or self.memory != NO_MEMORY

    @property
    def key(self) -> str:
        return content_key(self)


@dataclass(frozen=True)
class PlanDefinition:
    """A deployable choice: a structure at one operating point."""

    structure: Structure
    thresholds: tuple[float, ...] = ()
    exits: ExitThresholds = NO_THRESHOLDS

    def __post_init__(self) -> None:
        self.structure.check_thresholds(self.thresholds, self.exits)

    @property
    def key(self) -> str:
        """sha256 of the definition; the store and the CLI name plans by its first digits."""
        return content_key(self)
