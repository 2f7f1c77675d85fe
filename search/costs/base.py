"""What every way of counting the costs of a plan gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from trimtab.search.costs.correction import Correction
from trimtab.search.costs.stage import Doubles
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES

#: Size of a bundle beside its models: our own runtime, manifest and golden images, in MB.
BUNDLE_OVERHEAD_MB = 0.4


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

    @abstractmethod
    def stage_times(self, reach: Sequence[float], parts: Doubles) -> list[tuple[float, float]]:
        """Of each stage, its mean milliseconds when it runs and its share of the plan's mean
        latency, where `reach` (stages,) inputs come to it and `parts` (parts,) to each part."""

    def router_ms(self) -> float:
        """Mean milliseconds of what routes inputs; 0 where nothing does."""
        return 0.0

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
