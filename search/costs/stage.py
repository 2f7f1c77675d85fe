"""The costs of one stage, from its measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Visit:
    """One measurement, as a probe brought it back."""

    values: Mapping[str, float]
    samples: Mapping[str, Sequence[float]]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class StageCost:
    """Measurements of one variant with its options: raw samples in ms, memory in MB; `warnings`
    of what disturbed them."""

    format: InputFormat
    options: RuntimeOptions
    values: Mapping[str, float]
    samples: Mapping[str, Doubles]
    size_mb: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_visits(
        cls,
        fmt: InputFormat,
        options: RuntimeOptions,
        size_mb: float,
        visits: Sequence[Visit],
        factors: Sequence[float],
        position: int = 0,
    ) -> StageCost:
        """The stage at a `position` of what was measured. Samples of each visit are multiplied by
        its factor, and those of several visits are joined."""
        joined: dict[str, list[Doubles]] = {}
        for visit, factor in zip(visits, factors, strict=True):
            for name, column in visit.samples.items():
                number, _, part = name.partition("_")
                if number == str(position):
                    joined.setdefault(part, []).append(np.asarray(column) * factor)
        samples = {part: np.concatenate(columns) for part, columns in joined.items()}
        warnings = tuple(dict.fromkeys(text for visit in visits for text in visit.warnings))
        return cls(fmt, options, mean_values(visits), samples, size_mb, warnings)

    def total(
        self, context: str, shares_resize: bool = False, shares_all: bool = False
    ) -> Doubles:
        """Raw samples (n,) of the stage in a context, less what an earlier stage already did."""
        total = self.samples[f"{context}_inference_ms"]
        if not shares_all:
            total = total + self.samples[f"{context}_tensor_ms"]
        if not (shares_all or shares_resize):
            total = total + self.samples[f"{context}_resize_ms"]
        return total


def mean_values(visits: Sequence[Visit]) -> dict[str, float]:
    """The mean of every value that all visits know."""
    names = set.intersection(*(set(visit.values) for visit in visits))
    return {name: float(np.mean([visit.values[name] for visit in visits])) for name in names}
