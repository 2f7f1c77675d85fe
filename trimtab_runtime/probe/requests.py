"""What a probe can be asked. Paths are paths on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from trimtab_runtime.definition import RuntimeOptions, Variant


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
    """A variant's file on the device, and how to run it."""

    model: str
    variant: Variant
    options: RuntimeOptions


@dataclass(frozen=True)
class MeasureRequest:
    """Load time, memory, energy and latency of one stage, or of several that share a process in
    the order of a cascade. `visit` tells requests apart that ask the same at different times."""

    stages: tuple[StageFile, ...]
    images: tuple[str, ...]
    settings: MeasureSettings = MeasureSettings()
    visit: int = 0


@dataclass(frozen=True)
class TraceRequest:
    """Outputs of a variant on every image, written to `output` (.npz)."""

    stage: StageFile
    images: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class VerifyRequest:
    """Answers and latency of a bundle on every image, written to `output` (.npz).

    Memory and energy are measured on the first `deciding` images only (None: on any), so that
    nothing that is decided by them has seen the others.
    """

    bundle: str
    images: tuple[str, ...]
    output: str
    reference_every: int = 8
    deciding: Optional[int] = None


@dataclass(frozen=True)
class FingerprintRequest:
    """What the device is."""


KINDS = {
    "measure": MeasureRequest,
    "trace": TraceRequest,
    "verify": VerifyRequest,
    "fingerprint": FingerprintRequest,
}


def kind_of(request: Any) -> str:
    """The name of a request's kind."""
    return next(name for name, kind in KINDS.items() if type(request) is kind)
