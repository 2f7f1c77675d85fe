"""Where a plan may stop before its network's end, and what it remembers. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: What may answer early, in the order in which a plan asks: `thumbnails` of recent frames before
#: any network; at a tap, recent `instances`, class `centres`, a linear `heads`.
EXIT_KINDS = ("thumbnails", "instances", "centres", "heads")
TAP_KINDS = EXIT_KINDS[1:]
CENTRE_MEASURES = ("ac", "probability")
CENTRE_UPDATES = ("none", "exits", "all")
#: Entries of one memory, and what one memory may take.
MAX_ENTRIES = 4096


@dataclass(frozen=True)
class ExitThresholds:
    """From where on each kind answers; None: that kind does not.

    `thumbnails`: largest mean absolute difference in grey levels (0..255); `instances`: smallest
    cosine; `centres`: smallest measure (see `Centres.measure`); `heads`: smallest probability.
    """

    thumbnails: Optional[float] = None
    instances: Optional[float] = None
    centres: Optional[float] = None
    heads: Optional[float] = None


NO_THRESHOLDS = ExitThresholds()


@dataclass(frozen=True)
class Centres:
    """How class centres answer (Li et al., ACM MM 2021).

    Scores accumulate over taps, R_l = R_{l-1} / 2 + cos(vector, centre). `measure` 'ac' is
    (best - second) / second, as published; 'probability' is the calibrated softmax of R, with the
    running prior. Hot classes are the fewest with `hot_share` of the score
    frequency * 0.25^floor(frames since seen / window), chosen anew every `window` frames; a
    window of 0 keeps all classes. `update` moves the centre of the class that was answered to the
    running mean: never, after an exit at a tap ('exits', as published), or after every answer
    that a network gave.
    """

    measure: str = "ac"
    window: int = 0
    hot_share: float = 0.95
    update: str = "exits"

    def __post_init__(self) -> None:
        if self.measure not in CENTRE_MEASURES:
            raise ValueError(f"measure must be one of {CENTRE_MEASURES}, got {self.measure!r}")
        if self.update not in CENTRE_UPDATES:
            raise ValueError(f"update must be one of {CENTRE_UPDATES}, got {self.update!r}")
        if self.window < 0 or not 0 < self.hot_share <= 1:
            raise ValueError("window >= 0 and 0 < hot_share <= 1 must hold")


@dataclass(frozen=True)
class Prior:
    """A running prior over classes: the moving average of the probabilities that the plan itself
    gave, which keeps `decay` of its past a frame; `smoothing` is shared out over all classes.
    Heads and centres weigh their logits by `weight` times its logarithm, final
    answers by `final` times."""

    decay: float = 0.9
    smoothing: float = 0.15
    weight: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"0 < decay < 1 must hold, got {self.decay}")
        if not self.smoothing > 0:
            raise ValueError(f"smoothing > 0 must hold, got {self.smoothing}")
        if self.weight < 0 or self.final < 0:
            raise ValueError(f"weights >= 0 must hold, got {self.weight} and {self.final}")


@dataclass(frozen=True)
class Tap:
    """A place in a variant where it may stop: the tensor's `name`, the sha256 of the `segment`
    that ends there, and the `kinds` that are asked (of TAP_KINDS; none where only a router reads
    its vector)."""

    name: str
    segment: str
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        if list(self.kinds) != [k for k in TAP_KINDS if k in self.kinds]:
            raise ValueError(f"kinds must be of {TAP_KINDS}, in that order, got {self.kinds}")


@dataclass(frozen=True)
class Exits:
    """A stage cut into segments at taps, in the order of the network.

    `last` is the sha256 of the segment behind the last tap, `arrays` of an .npz with, for tap
    number t: `mean_t` and `scale_t` (channels,), which standardise its vector; `centres_t`
    (classes, channels), of standardised vectors, and how many of them made each, `members_t`
    (classes,); `temperature_t` (2,), of heads and centres. Where no tap asks any kind, '' will do.
    """

    taps: tuple[Tap, ...]
    last: str
    arrays: str = ""

    def __post_init__(self) -> None:
        if not self.taps:
            raise ValueError("exits need at least one tap")
        if len({tap.name for tap in self.taps}) != len(self.taps):
            raise ValueError("two taps at one tensor")

    @property
    def segments(self) -> tuple[str, ...]:
        """sha256 of every segment, in order."""
        return (*(tap.segment for tap in self.taps), self.last)


@dataclass(frozen=True)
class Memory:
    """What a plan remembers from frame to frame. `thumbnails` and `instances` are numbers of
    entries (the latter at each tap); the least recently used one makes room."""

    thumbnails: int = 0
    instances: int = 0
    centres: Optional[Centres] = None
    prior: Optional[Prior] = None

    def __post_init__(self) -> None:
        for name in ("thumbnails", "instances"):
            if not 0 <= getattr(self, name) <= MAX_ENTRIES:
                raise ValueError(f"0 <= {name} <= {MAX_ENTRIES} must hold")


NO_MEMORY = Memory()
