"""What a plan costs, from the primitives it executes.

A stage costs less when the stage before it was itself (`hot`) than when another stage, or the
reference work, has used the caches in between (`beside`): both were sampled, and the first stage
of a plan is a mixture of the two. What two stages share (a resize, a whole tensor) is paid once.
Percentiles do not add, so distributions are mixtures over paths of sums of raw samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

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
class StageCost:
    """Measurements of one variant with its options: raw samples in ms, memory in MB."""

    format: InputFormat
    options: RuntimeOptions
    values: Mapping[str, float]
    samples: Mapping[str, Doubles]
    size_mb: float

    @classmethod
    def from_samples(
        cls,
        fmt: InputFormat,
        options: RuntimeOptions,
        values: Mapping[str, float],
        samples: Mapping[str, Sequence[float]],
        size_mb: float,
        reference_ms: float,
    ) -> StageCost:
        """Scale samples to a device on which the reference work takes `reference_ms`."""
        factor = reference_ms / pace_ms(samples["reference_ms"])
        scaled = {name: np.asarray(column) * factor for name, column in samples.items()}
        return cls(fmt, options, values, scaled, size_mb)

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


class PathCosts:
    """Costs of every path through an ordered list of stages (stage 0, stages 0 and 1, ...)."""

    def __init__(self, stages: Sequence[StageCost]) -> None:
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
        """Mean latency (plans,) where `reach` (plans, stages) is the share of inputs that reach
        each stage. The input before stopped at stage 0 with probability 1 - reach[:, 1]."""
        hot, beside = (float(samples.mean()) for samples in self._first)
        cooled = reach[:, 1] if reach.shape[1] > 1 else np.zeros(len(reach))
        total = hot + (beside - hot) * cooled
        for position, samples in enumerate(self._later, 1):
            total = total + reach[:, position] * float(samples.mean())
        return total

    def stage_ms(self) -> list[float]:
        """Mean milliseconds of each stage when it runs (the first one hot)."""
        return [float(self._first[0].mean())] + [float(s.mean()) for s in self._later]

    def draws(self, reach: Doubles) -> Doubles:
        """Latency samples of one plan: `reach` (stages,). Raw samples of the stages of a path are
        added at random (seeded) and paths are weighted by their share."""
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
        return np.concatenate(paths)

    def percentiles(self, reach: Doubles) -> dict[str, float]:
        """Percentile metrics of one plan, each only where every stage has samples enough."""
        used = [*(self._first if self._later else self._first[:1]), *self._later]
        fewest = min(len(samples) for samples in used)
        draws = self.draws(reach)
        return {
            f"latency_p{percentile}_ms": float(np.percentile(draws, percentile))
            for percentile, needed in PERCENTILE_MIN_SAMPLES.items()
            if fewest >= needed
        }

    def fixed(self) -> dict[str, float]:
        """Costs that no threshold changes: load time, memory and size. Absent where unmeasured."""
        values = [stage.values for stage in self.stages]
        found = {
            "load_ms": sum(v["load_ms"] for v in values),
            "bundle_size_mb": sum(s.size_mb for s in self.stages) + BUNDLE_OVERHEAD_MB,
        }
        if all("resident_mb" in v for v in values):
            engines = {s.options.engine: s.values["engine_mb"] for s in self.stages}
            transients = [max(v["load_transient_mb"], v["run_transient_mb"]) for v in values]
            found["peak_memory_mb"] = (
                max(v["start_mb"] for v in values)
                + sum(engines.values())
                + sum(v["resident_mb"] for v in values)
                + max(transients)
            )
        return found
