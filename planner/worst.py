"""The worst case over several devices. What is unknown on one of them is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from db import PlanMetricRecord
from trimtab_runtime.metrics import find_metric


def worst(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The lowest quality and the highest costs, by metric."""
    names = [name for name in values[0] if all(name in found for found in values)]
    return {
        name: (min if find_metric(name).maximise else max)(found[name] for found in values)
        for name in names
    }


def worst_metrics(figures: Sequence[Sequence[PlanMetricRecord]]) -> list[PlanMetricRecord]:
    """Of each figure of a plan that of the device where it is worst, with its interval."""
    known = [{(m.metric, m.split, m.basis): m for m in found} for found in figures]
    worst_ones = []
    for key in known[0]:
        if all(key in found for found in known):
            metric, _, basis = key
            lowest = find_metric(metric).maximise and basis != "optimism"
            pick = min if lowest else max
            worst_ones.append(pick((found[key] for found in known), key=lambda m: m.value))
    return worst_ones
