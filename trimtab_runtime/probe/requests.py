"""What a probe can be asked. Paths are paths on the device."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab_runtime.definition import RuntimeOptions, Variant


@dataclass(frozen=True)
class MeasureSettings:
    """How long a latency measurement lasts, and how its samples are interleaved.

    A round is one reference run, one run of the variant right after it (`beside`: caches hold
    somebody else's data) and `hot_per_round` more (`hot`). Rounds go on for `seconds`, but at
    least `min_rounds`, at most `max_rounds` and never longer than `max_seconds`.
    """

    seconds: float = 2.5
    max_seconds: float = 30.0
    min_rounds: int = 34
    max_rounds: int = 170
    hot_per_round: int = 4
    warmup_seconds: float = 0.4


@dataclass(frozen=True)
class MeasureRequest:
    """Load time, memory and latency of a variant on some images."""

    model: str
    variant: Variant
    options: RuntimeOptions
    images: tuple[str, ...]
    settings: MeasureSettings = MeasureSettings()


@dataclass(frozen=True)
class TraceRequest:
    """Outputs of a variant on every image, written to `output` (.npz)."""

    model: str
    variant: Variant
    options: RuntimeOptions
    images: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class VerifyRequest:
    """Answers and latency of a bundle on every image, written to `output` (.npz)."""

    bundle: str
    images: tuple[str, ...]
    output: str
    reference_every: int = 8


@dataclass(frozen=True)
class FingerprintRequest:
    """What the device is."""


KINDS = {
    "measure": MeasureRequest,
    "trace": TraceRequest,
    "verify": VerifyRequest,
    "fingerprint": FingerprintRequest,
}
