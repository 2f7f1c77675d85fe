"""What goes into a model and what comes out of it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

RESIZE_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
LAYOUTS = ("nchw", "nhwc")
DTYPES = ("float32", "float16", "uint8", "int8")
COLOURS = ("rgb", "bgr", "gray")
OUTPUT_KINDS = ("logits", "probabilities")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is `allowed`."""
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
        one_of("resize", self.resize, RESIZE_FILTERS)
        one_of("layout", self.layout, LAYOUTS)
        one_of("dtype", self.dtype, DTYPES)
        one_of("colour", self.colour, COLOURS)
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
    """What the model's output vector means. The first `offset` entries are background.

    A model that gives a single score, that of the second of two classes, has a `threshold`: from
    this probability on it is the second class.
    """

    kind: str = "logits"
    offset: int = 0
    quantisation: Optional[Quantisation] = None
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, OUTPUT_KINDS)
        if self.offset < 0:
            raise ValueError(f"offset >= 0 must hold, got {self.offset}")
        if self.threshold is None:
            return
        if not 0 < self.threshold < 1:
            raise ValueError(f"0 < threshold < 1 must hold, got {self.threshold}")
        if self.offset:
            raise ValueError("a single score has no background class: offset must be 0")
