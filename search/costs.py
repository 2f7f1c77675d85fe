"""What a plan costs, from the primitives it executes.

A stage costs less when the stage before it was itself (`hot`) than when another stage, or the
reference work, has used the caches in between (`beside`): both were sampled, and the first stage
of a plan is a mixture of the two. What two stages share (a resize, a whole tensor) is paid once.
Percentiles do not add, so distributions are mixtures over paths of sums of raw samples.
Memory is what the process, the engines and the models keep, and the largest transient; stages
that were measured together in one process bring the peak that was measured there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from search.correction import Correction
from trimtab_runtime.definition import InputFormat, RuntimeOptions
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.preprocess import resize_key

Doubles = NDArray[np.float64]

#: Size of a bundle beside its models: our own runtime, manifest and golden images, in MB.
BUNDLE_OVERHEAD_MB = 0.4
_DRAWS = 2000


def pace_ms(reference: Sequence[float]) -> float:
    """How fast the device was: the mean time of the reference work without its extremes, a fifth
    at either end. (The median jumps where a machine changes between two speeds.)"""
    return float(trim_mean(np.asarray(reference), 0.2))


@dataclass(frozen=True)
class Visit:
    """One measurement, as a probe brought it back."""

    values: Mapping[str, float]
    samples: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class StageCost:
    """Measurements of one variant with its options: raw samples in ms, memory in MB."""

    format: InputFormat
    options: RuntimeOptions
    values: Mapping[str, float]
    samples: Mapping[str, Doubles]
    size_mb: float

    @classmethod
    def from_visits(
        cls,
        fmt: InputFormat,
        options: RuntimeOptions,
        size_mb: float,
        visits: Sequence[Visit],
        reference_ms: float,
        position: int = 0,
    ) -> StageCost:
        """The stage at a `position` of what was measured. Samples are scaled to a device on
        which the reference work takes `reference_ms`; those of several visits are joined."""
        joined: dict[str, list[Doubles]] = {}
        for visit in visits:
            factor = reference_ms / pace_ms(visit.samples["reference_ms"])
            for name, column in visit.samples.items():
                number, _, part = name.partition("_")
                if number == str(position):
                    joined.setdefault(part, []).append(np.asarray(column) * factor)
        samples = {part: np.concatenate(columns) for part, columns in joined.items()}
        return cls(fmt, options, mean_values(visits), samples, size_mb)

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


class PlanCosts(ABC):
    """What a plan costs by the share of inputs that reach each of its parts.

    `values` and `sizes_mb` are of its stages; `together` holds the values of a process in which
    this very plan was measured.
    """

    def __init__(
        self,
        values: Sequence[Mapping[str, float]],
        sizes_mb: Sequence[float],
        together: Mapping[str, float] | None,
        correction: Correction | None,
    ) -> None:
        self._values, self._size_mb = list(values), sum(sizes_mb)
        self._together = together or {}
        known = correction or Correction()
        self._slower, self._larger = (
            known.factor(metric, len(values)) for metric in ("latency_mean_ms", "peak_memory_mb")
        )

    @abstractmethod
    def mean_ms(self, reach: Doubles) -> Doubles:
        """Mean latency (plans,) where `reach` (plans, parts) is the share of inputs that reach
        each part."""

    @abstractmethod
    def draws(self, reach: Doubles) -> Doubles:
        """Latency samples of one plan: `reach` (parts,). Raw samples of the parts of a path are
        added at random (seeded) and paths are weighted by their share."""

    @abstractmethod
    def _used(self) -> Sequence[Doubles]:
        """The samples that :meth:`draws` draws from."""

    @abstractmethod
    def _unmeasured_peak_mb(self) -> float | None:
        """The peak of a plan that was not measured as it is; None where it cannot be told."""

    def energy_mj(self, reach: Doubles) -> Doubles | None:
        """Mean energy of an answer (plans,), like :meth:`mean_ms`; None where unknown."""
        return None

    def percentiles(self, reach: Doubles) -> dict[str, float]:
        """Percentile metrics of one plan, each only where every part has samples enough."""
        fewest = min(len(samples) for samples in self._used())
        draws = self.draws(reach)
        return {
            f"latency_p{percentile}_ms": float(np.percentile(draws, percentile))
            for percentile, needed in PERCENTILE_MIN_SAMPLES.items()
            if fewest >= needed
        }

    def known(self, reach: Doubles) -> dict[str, float]:
        """All that is known of one plan's costs, by metric: `reach` (parts,)."""
        energy = self.energy_mj(reach[None])
        return {
            "latency_mean_ms": float(self.mean_ms(reach[None])[0]),
            **self.percentiles(reach),
            **({} if energy is None else {"energy_mean_mj": float(energy[0])}),
            **self.fixed(),
        }

    def fixed(self) -> dict[str, float]:
        """Costs that no threshold changes: load time, memory and size. Absent where unmeasured."""
        found = {
            "load_ms": self._together.get("load_ms", sum(v["load_ms"] for v in self._values)),
            "bundle_size_mb": self._size_mb + BUNDLE_OVERHEAD_MB,
        }
        peak = self._together.get("peak_mb", self._unmeasured_peak_mb())
        if peak is not None:
            found["peak_memory_mb"] = peak * self._larger
        return found


class PathCosts(PlanCosts):
    """Costs of every path through an ordered list of stages (stage 0, stages 0 and 1, ...).

    `together` holds the values of a process in which these very stages were measured together.
    """

    def __init__(
        self,
        stages: Sequence[StageCost],
        together: Mapping[str, float] | None = None,
        correction: Correction | None = None,
    ) -> None:
        values, sizes = [stage.values for stage in stages], [stage.size_mb for stage in stages]
        super().__init__(values, sizes, together, correction)
        self.stages = list(stages)
        self._first = (stages[0].total("hot"), stages[0].total("beside"))
        self._later = [
            stage.total(
                "beside",
                shares_resize=any(
                    resize_key(stage.format) == resize_key(earlier.format)
                    for earlier in stages[:position]
                ),
                shares_all=any(stage.format == earlier.format for earlier in stages[:position]),
            )
            for position, stage in enumerate(stages[1:], 1)
        ]

    def mean_ms(self, reach: Doubles) -> Doubles:
        """Mean latency (plans,). The input before stopped at stage 0 with probability
        1 - reach[:, 1]."""
        hot, beside = (float(samples.mean()) for samples in self._first)
        cooled = reach[:, 1] if reach.shape[1] > 1 else np.zeros(len(reach))
        total = hot + (beside - hot) * cooled
        for position, samples in enumerate(self._later, 1):
            total = total + reach[:, position] * float(samples.mean())
        return total * self._slower

    def energy_mj(self, reach: Doubles) -> Doubles | None:
        """Mean energy of an answer (plans,), like :meth:`mean_ms`; None without a sensor."""
        known = [values.get("energy_mj") for values in self._values]
        if any(value is None for value in known):
            return None
        return reach @ np.array(known, np.float64)

    def stage_ms(self) -> list[float]:
        """Mean milliseconds of each stage when it runs (the first one hot)."""
        means = [float(samples.mean()) for samples in (self._first[0], *self._later)]
        return [mean * self._slower for mean in means]

    def draws(self, reach: Doubles) -> Doubles:
        generator = np.random.default_rng(0)
        depth = np.diff(np.append(reach, 0.0)) * -1.0
        paths: list[Doubles] = []
        for last, share in enumerate(depth):
            count = round(float(share) * _DRAWS)
            cooled = count - round(count * float(1.0 - reach[1])) if len(reach) > 1 else 0
            path = np.concatenate(
                [
                    generator.choice(self._first[0], count - cooled),
                    generator.choice(self._first[1], cooled),
                ]
            )
            for samples in self._later[:last]:
                path = path + generator.choice(samples, count)
            paths.append(path)
        return np.concatenate(paths) * self._slower

    def _used(self) -> Sequence[Doubles]:
        return [*(self._first if self._later else self._first[:1]), *self._later]

    def _unmeasured_peak_mb(self) -> float | None:
        """Base process, what stays resident, and the largest transient."""
        values = self._values
        if not all("resident_mb" in v for v in values):
            return None
        engines = {s.options.engine: s.values["engine_mb"] for s in self.stages}
        transients = [max(v["load_transient_mb"], v["run_transient_mb"]) for v in values]
        return (
            max(v["start_mb"] for v in values)
            + sum(engines.values())
            + sum(v["resident_mb"] for v in values)
            + max(transients)
        )
