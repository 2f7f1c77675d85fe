"""The values of each metric of a plan, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from trimtab.db import PlanEntry
from trimtab_runtime.metrics import METRICS, find_metric, recalled_class


@dataclass(frozen=True)
class MetricValues:
    """All that is known of one metric of a plan; None is unknown.

    `decided` is the value that selection used, on tune: the conservative estimate of a quality; of
    a cost what the bundle took, or else the corrected prediction. `test` with its 95 % interval is
    only reported. `predicted` is the one prediction that is shown of a cost, `measured` what the
    bundle took; both are for the inputs of test, and do not know of each other. `low` and `high`
    are the 95 % interval of `test`, or of `measured`, `predicted_low` and `predicted_high` that of
    what a bundle was predicted to measure. `optimism` is the validation-to-test gap: the decided
    lead over the baseline less the lead on test, with its interval.
    """

    metric: str
    decided: float | None
    replayed: float | None = None
    test: float | None = None
    low: float | None = None
    high: float | None = None
    predicted: float | None = None
    measured: float | None = None
    predicted_low: float | None = None
    predicted_high: float | None = None
    optimism: float | None = None
    optimism_low: float | None = None
    optimism_high: float | None = None

    @property
    def shown(self) -> float | None:
        """A cost as it is shown: measured, else predicted."""
        return self.predicted if self.measured is None else self.measured

    @property
    def basis(self) -> str:
        """What `shown` is."""
        return "predicted" if self.measured is None else "measured"

    @property
    def error(self) -> float | None:
        """Prediction less measurement, as a fraction of the measurement."""
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1.0


def plan_figures(entry: PlanEntry) -> dict[str, MetricValues]:
    """Every metric of which anything is known, in the order of metrics.py."""
    told = _in_order(frozenset(metric for metric, _, _ in entry.metrics))
    figures = {metric: _figure(entry, metric, kind) for metric, kind in told}
    return {metric: figure for metric, figure in figures.items() if figure is not None}


@lru_cache(maxsize=64)  # the plans of a job know much the same metrics
def _in_order(named: frozenset[str]) -> list[tuple[str, str]]:
    """These metrics, each with its kind."""
    recalls = sorted(name for name in named if recalled_class(name) is not None)
    told = [name for name in (*METRICS, *recalls) if name in named]
    return [(name, find_metric(name).kind) for name in told]


def _figure(entry: PlanEntry, metric: str, kind: str) -> MetricValues | None:
    """None if the store has none of the values that are shown."""
    get = entry.metrics.get
    if kind == "quality":
        guarded, replayed = get((metric, "tune", "guarded")), get((metric, "tune", "replayed"))
        test, luck = get((metric, "test", "replayed")), get((metric, "test", "optimism"))
        if guarded is replayed is test is luck is None:
            return None
        return MetricValues(
            metric,
            decided=guarded.value if guarded else None,
            replayed=replayed.value if replayed else None,
            test=test.value if test else None,
            low=test.low if test else None,
            high=test.high if test else None,
            optimism=luck.value if luck else None,
            optimism_low=luck.low if luck else None,
            optimism_high=luck.high if luck else None,
        )
    decided, measured = get((metric, "tune", "predicted")), get((metric, "test", "measured"))
    # What does not depend on the inputs (memory, size) is predicted once.
    predicted = get((metric, "test", "predicted")) or decided
    if predicted is measured is None:
        return None
    return MetricValues(
        metric,
        decided=decided.value if decided else None,
        predicted=predicted.value if predicted else None,
        predicted_low=predicted.low if predicted else None,
        predicted_high=predicted.high if predicted else None,
        measured=measured.value if measured else None,
        low=measured.low if measured else None,
        high=measured.high if measured else None,
    )
