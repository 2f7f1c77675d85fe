"""How costs of plans are predicted: one class a metric, and the registry that plans ask.

To add one, define it in `trimtab_runtime.metrics` and write its class here, decorated with
:func:`register`. A measured value bears the name of its metric in what a probe of a bundle brings
back. Latency percentiles come from draws of raw samples: see `PlanCosts.percentiles`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, TypeVar

from trimtab.search.costs.stage import Doubles
from trimtab_runtime.metrics import find_metric

#: Size of a bundle beside its models: our own runtime, manifest and golden images, in MB.
BUNDLE_OVERHEAD_MB = 0.4


class MeasuredPlan(Protocol):
    """What is known of a plan that costs are predicted for.

    `values` were measured of each stage, by name; `together` of a process in which this very plan
    was measured (empty where there was none). `size_mb` is the size of its models.
    """

    values: Sequence[Mapping[str, float]]
    together: Mapping[str, float]
    size_mb: float

    def factor(self, metric: str) -> float:
        """What predictions of a metric are multiplied by, as verified bundles taught."""

    def mean_ms(self, reach: Doubles) -> Doubles:
        """Mean latency (plans,), corrected."""

    def mean_value(self, name: str, reach: Doubles) -> Doubles | None:
        """Mean over inputs (plans,) of a value that every stage adds when it runs."""

    def unmeasured_peak_mb(self) -> float | None:
        """The peak of a plan that was not measured as it is; None where it cannot be told."""


class CostMetric(ABC):
    """A cost by its name in `trimtab_runtime.metrics`; predictions are corrected already, by
    `plan.factor(self.name)` where its definition says so."""

    name: ClassVar[str]


class AverageCost(CostMetric):
    """A cost that depends on where inputs stop."""

    @abstractmethod
    def predict(self, plan: MeasuredPlan, reach: Doubles) -> Doubles | None:
        """The cost (plans,) where `reach` (plans, parts) is the share of inputs that reach each
        part; None where it cannot be told."""


class FixedCost(CostMetric):
    """A cost that no threshold changes."""

    @abstractmethod
    def predict(self, plan: MeasuredPlan) -> float | None:
        """The cost; None where it cannot be told."""


COST_METRICS: dict[str, AverageCost | FixedCost] = {}
_Kind = TypeVar("_Kind", bound="type[AverageCost] | type[FixedCost]")


def register(kind: _Kind) -> _Kind:
    """Make a cost known by its name, which must be that of a cost in `trimtab_runtime.metrics`."""
    defined = find_metric(kind.name)
    if defined.kind != "cost" or defined.maximise:
        raise ValueError(f"{kind.name!r} must be a cost of which less is better: {defined}")
    COST_METRICS[kind.name] = kind()
    return kind


@register
class MeanLatency(AverageCost):
    name = "latency_mean_ms"

    def predict(self, plan: MeasuredPlan, reach: Doubles) -> Doubles:
        return plan.mean_ms(reach)


@register
class MeanEnergy(AverageCost):
    name = "energy_mean_mj"

    def predict(self, plan: MeasuredPlan, reach: Doubles) -> Doubles | None:
        return plan.mean_value("energy_mj", reach)


@register
class LoadTime(FixedCost):
    name = "load_ms"

    def predict(self, plan: MeasuredPlan) -> float:
        return plan.together.get("load_ms", sum(values["load_ms"] for values in plan.values))


@register
class BundleSize(FixedCost):
    name = "bundle_size_mb"

    def predict(self, plan: MeasuredPlan) -> float:
        return plan.size_mb + BUNDLE_OVERHEAD_MB


@register
class PeakMemory(FixedCost):
    name = "peak_memory_mb"

    def predict(self, plan: MeasuredPlan) -> float | None:
        peak = plan.together.get("peak_mb", plan.unmeasured_peak_mb())
        return None if peak is None else peak * plan.factor(self.name)
