"""What a probe can be asked. Paths are paths on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from trimtab_runtime.definitions.exits import NO_MEMORY, Exits, Memory
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.formats import one_of
from trimtab_runtime.images.features import IMAGE_FEATURES


@dataclass(frozen=True)
class MeasureSettings:
    """How long a latency measurement lasts.

    Rounds (see measure.py) go on for `seconds`, but at least `min_rounds`, at most `max_rounds`
    and never longer than `max_seconds`. A stage is sampled `beside_per_round` times a round after
    somebody else, and each time the first stage does, `hot_per_beside` times after itself.
    """

    seconds: float = 2.0
    max_seconds: float = 30.0
    min_rounds: int = 32
    max_rounds: int = 170
    beside_per_round: int = 2
    hot_per_beside: int = 2
    warmup_seconds: float = 0.4
    idle_seconds: float = 1.0
    energy_seconds: float = 2.0


@dataclass(frozen=True)
class StageFile:
    """A variant's file on the device, and how to run it; with `exits`, the files of its `segments`
    and of its taps' `arrays` (which only a measurement needs), and `model` is not looked at.
    `scorer` is the file of its scorer, which only a measurement of several stages needs."""

    model: str
    variant: Variant
    options: RuntimeOptions
    exits: Optional[Exits] = None
    segments: tuple[str, ...] = ()
    arrays: Optional[str] = None
    scorer: Optional[str] = None


@dataclass(frozen=True)
class RouterFile:
    """A router with the file of its `model` on the device."""

    model: str
    router: Router


@dataclass(frozen=True)
class MeasureRequest:
    """Load time, memory, energy and latency of one stage, or of several that share a process in
    the order of a cascade, with what they remember from frame to frame and the `router` in front
    of them. `visit` tells requests apart that ask the same at different times. Memory is that with
    an image of `largest_pixels` too, where that is said."""

    stages: tuple[StageFile, ...]
    images: tuple[str, ...]
    settings: MeasureSettings = MeasureSettings()
    visit: int = 0
    memory: Memory = NO_MEMORY
    router: Optional[RouterFile] = None
    largest_pixels: Optional[int] = None


@dataclass(frozen=True)
class TraceRequest:
    """Outputs of a variant on every image, written to `output` (.npz); of a stage in segments also
    the vectors at its taps, and `thumbnails` of the images where they are asked for."""

    stage: StageFile
    images: tuple[str, ...]
    output: str
    thumbnails: bool = False


@dataclass(frozen=True)
class FeaturesRequest:
    """Features of images (see image_features.py), written to `output` (.npz)."""

    images: tuple[str, ...]
    names: tuple[str, ...]
    output: str

    def __post_init__(self) -> None:
        for name in self.names:
            one_of("names", name, IMAGE_FEATURES)


@dataclass(frozen=True)
class VerifyRequest:
    """Answers and latency of a bundle on every image, written to `output` (.npz).

    Memory and energy are measured on the first `deciding` images only (None: on any), so that
    nothing that is decided by them has seen the others. What the plan remembers is forgotten
    before each image whose number is in `reset_at`, where a stream begins. Memory is that with an
    image of `largest_pixels` too, where that is said.
    """

    bundle: str
    images: tuple[str, ...]
    output: str
    reference_every: int = 8
    deciding: Optional[int] = None
    reset_at: tuple[int, ...] = (0,)
    largest_pixels: Optional[int] = None


@dataclass(frozen=True)
class TurnSettings:
    """How long bundles take turns.

    Every part of their images is cut into `rounds` blocks; a round is a block of every part on
    every bundle. Rounds begin over `spread_seconds`, in `sittings` with new processes each (fewer
    where it takes long to start these). Disturbed rounds are repeated while the whole takes less
    than `max_seconds`, and at most until there were `visits` times as many rounds.
    """

    rounds: int = 16
    sittings: int = 8
    spread_seconds: float = 60.0
    max_seconds: float = 180.0
    visits: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.sittings <= self.rounds:
            raise ValueError(
                f"1 <= sittings <= rounds must hold, got {self.sittings} and {self.rounds}"
            )


@dataclass(frozen=True)
class PairedRequest:
    """Latency of `bundles` that take turns, each in a resident process of its own, in an order
    drawn from `seed`, on the same images: parts of a stream begin at the numbers `starts`, and
    what plans remember is forgotten there. What is told is written to `output` (.npz; see
    paired.py)."""

    bundles: tuple[str, ...]
    images: tuple[str, ...]
    starts: tuple[int, ...]
    output: str
    settings: TurnSettings = TurnSettings()
    seed: int = 0
    #: The interpreter of each bundle's process; none: that of the probe.
    pythons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.bundles:
            raise ValueError("turns need at least one bundle")
        if len(self.pythons) not in (0, len(self.bundles)):
            raise ValueError(f"{len(self.bundles)} pythons needed, got {len(self.pythons)}")
        if self.starts[:1] != (0,) or any(a >= b for a, b in zip(self.starts, self._ends)):
            raise ValueError(
                f"starts must rise from 0 to below {len(self.images)}, got {self.starts}"
            )

    @property
    def _ends(self) -> tuple[int, ...]:
        return (*self.starts[1:], len(self.images))

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """The first image of each part, and the first after it."""
        return tuple(zip(self.starts, self._ends))


@dataclass(frozen=True)
class LayersRequest:
    """Times of the nodes of an ONNX file as onnxruntime runs them, written to `output` (.npz; see
    layers.py), beside those of the whole without its profiler. Inputs are noise of `seed`; `size`
    (height, width) is for a file that leaves it open."""

    model: str
    options: RuntimeOptions
    output: str
    runs: int = 50
    size: Optional[tuple[int, int]] = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.runs <= 1000:
            raise ValueError(f"1 <= runs <= 1000 must hold, got {self.runs}")
        _no_spinning(self.options)


@dataclass(frozen=True)
class RaceRequest:
    """Times of small files of the options' engine, each of fixed input shapes, that take turns in
    one process: in every round each once, in an order drawn from `seed`, as are their inputs."""

    files: tuple[str, ...]
    options: RuntimeOptions
    rounds: int = 64
    seed: int = 0
    warmup_seconds: float = 0.1

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("a race needs at least one file")
        if self.rounds < 1:
            raise ValueError(f"rounds >= 1 must hold, got {self.rounds}")
        _no_spinning(self.options)


def _no_spinning(options: RuntimeOptions) -> None:
    if options.spinning:
        raise ValueError("spinning must be off where several sessions share a process")


@dataclass(frozen=True)
class FingerprintRequest:
    """What the device is."""


KINDS = {
    "measure": MeasureRequest,
    "trace": TraceRequest,
    "features": FeaturesRequest,
    "verify": VerifyRequest,
    "paired": PairedRequest,
    "layers": LayersRequest,
    "race": RaceRequest,
    "fingerprint": FingerprintRequest,
}


def kind_of(request: Any) -> str:
    """The name of a request's kind."""
    return next(name for name, kind in KINDS.items() if type(request) is kind)
