"""What kind of stream, and with which numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

STREAM_KINDS = ("independent", "longtail", "dwelling", "interleaved", "hot_classes", "recorded")
MOVING_KINDS = ("dwelling", "interleaved")

_NO_LIMIT = 2**31 - 1
_WHOLE = {"frames": 1, "objects": 1, "stretch": 1, "classes": 1, "shift": 0}
_REAL = {
    "zipf": (0.0, 10.0),
    "mean_frames": (1.0, float(_NO_LIMIT)),
    "gain": (0.0, 0.5),
    "noise": (0.0, 1.0),
}


@dataclass(frozen=True)
class StreamRecipe:
    """How inputs arrive; docs/streams.md explains every kind. Raises ValueError.

    A kind reads only its own numbers:

    - `frames`: length; None is every image once (independent, recorded), else 4 for each image.
    - `zipf`: the class of rank r comes with weight r**-zipf (longtail, dwelling, interleaved,
      hot_classes).
    - `mean_frames`: frames that an object stays: the mean of a geometric distribution (dwelling),
      or exactly, then a whole number (interleaved).
    - `objects`: how many are in view in turn (interleaved).
    - `stretch`, `classes`: stills of a stretch, and classes they show (hot_classes).
    - Motion of dwelling and interleaved: `shift` in pixels, a walk by -1, 0 or 1 on each axis and
      frame that stays within +-shift; `gain`, the deviation of a step of brightness, relative
      (kept within 0.8 .. 1.25); `noise`, the deviation of pixel noise, as a share of 255.
    """

    kind: str = "independent"
    frames: int | None = None
    zipf: float = 1.0
    mean_frames: float = 15.0
    objects: int = 4
    stretch: int = 60
    classes: int = 3
    shift: int = 3
    gain: float = 0.02
    noise: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in STREAM_KINDS:
            raise ValueError(f"kind must be one of {', '.join(STREAM_KINDS)}, got {self.kind!r}")
        # 10 and 10.0 must have one content key.
        for name, low in _WHOLE.items():
            value = getattr(self, name)
            if name != "frames" or value is not None:
                object.__setattr__(self, name, _whole(name, value, low))
        for name, limits in _REAL.items():
            object.__setattr__(self, name, _real(name, getattr(self, name), *limits))
        if self.kind == "interleaved" and not self.mean_frames.is_integer():
            raise ValueError(
                "mean_frames must be a whole number for interleaved (every object is seen so "
                f"often, exactly), got {self.mean_frames}"
            )

    @property
    def moves(self) -> bool:
        """Whether shift, gain and noise apply to this kind."""
        return self.kind in MOVING_KINDS


def _whole(name: str, value: object, low: int) -> int:
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or not low <= int(value) <= _NO_LIMIT:  # type: ignore[call-overload]
        raise ValueError(f"{name} must be a whole number of {low} or more, got {value!r}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _real(name: str, value: object, low: float, high: float) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool)
    found = float(value) if number else math.nan  # type: ignore[arg-type]
    if not low <= found <= high:
        raise ValueError(f"{low:g} <= {name} <= {high:g} must hold, got {value!r}")
    return found
