"""The interface of the cost models of plans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trimtab.search.costs.correction import Correction
from trimtab.search.costs.metrics import COST_METRICS, AverageCost, FixedCost
from trimtab.search.costs.stage import Doubles, StageCost
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES


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
        self.values: Sequence[Mapping[str, float]] = list(values)
        self.size_mb, self.together = sum(sizes_mb), together or {}
        self._correction = correction or Correction()
        self._slower = self.factor("latency_mean_ms")

    def factor(self, metric: str) -> float:
        """What predictions of a metric are multiplied by, as verified bundles taught."""
        return self._correction.factor(metric, len(self.values))

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
    def unmeasured_peak_mb(self) -> float | None:
        """The peak of a plan that was not measured as it is; None where it cannot be told."""

    @abstractmethod
    def measured_stages(self) -> Iterable[StageCost]:
        """The stages, or their segments, as they were measured."""

    @property
    def warnings(self) -> list[str]:
        """What disturbed the measurements that the plan's costs follow from."""
        return list(dict.fromkeys(w for stage in self.measured_stages() for w in stage.warnings))

    def mean_value(self, name: str, reach: Doubles) -> Doubles | None:
        """Mean over inputs (plans,) of a measured value that every stage adds when it runs;
        `reach` as in :meth:`mean_ms`. None where unknown."""
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

    def known(self, reach: Doubles, percentiles: bool = True) -> dict[str, float]:
        """All that is known of one plan's costs, by metric: `reach` (parts,). Latency percentiles
        take longer, and may be left out."""
        averages = self.averages(reach[None])
        return {
            **{metric: float(value[0]) for metric, value in averages.items()},
            **(self.percentiles(reach) if percentiles else {}),
            **self.fixed(),
        }

    def averages(self, reach: Doubles) -> dict[str, Doubles]:
        """Costs (plans,) that depend on where inputs stop, by metric, without percentiles; `reach`
        as in :meth:`mean_ms`. Absent where unknown."""
        found = {
            name: metric.predict(self, reach)
            for name, metric in COST_METRICS.items()
            if isinstance(metric, AverageCost)
        }
        return {name: value for name, value in found.items() if value is not None}

    def fixed(self) -> dict[str, float]:
        """Costs that no threshold changes: load time, memory and size. Absent where unmeasured."""
        found = {
            name: metric.predict(self)
            for name, metric in COST_METRICS.items()
            if isinstance(metric, FixedCost)
        }
        return {name: value for name, value in found.items() if value is not None}
