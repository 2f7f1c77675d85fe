"""The speed-up of a plan over the baseline: the quotient of the two latencies beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.db import PlanEntry, PlanRecord
from trimtab.planner.reports.figures import MetricValues
from trimtab.planner.reports.names import plan_name
from trimtab.planner.reports.text import UNKNOWN
from trimtab.planner.selection.paired import PairedFigures
from trimtab.search.estimates.paired_times import Known

LATENCY = "latency_mean_ms"
MEASURED, UNPAIRED, PREDICTED = "measured", "measured, not paired", "predicted"


@dataclass(frozen=True)
class SpeedUp:
    """How many times as fast as the baseline a plan is, on the inputs of test.

    `basis`: 'measured' where both bundles took turns, with the 95 % interval of their ratio;
    'measured, not paired' where each was measured for itself, minutes apart, so that nothing is
    known of the error; 'predicted' where one of them was not measured. `disturbed` says that the
    machine was not quiet while they took turns.
    """

    value: float
    basis: str
    low: float | None = None
    high: float | None = None
    disturbed: bool = False

    @classmethod
    def of(
        cls,
        plan: PlanRecord,
        own: Mapping[str, MetricValues],
        base: Mapping[str, MetricValues],
    ) -> SpeedUp | None:
        """From the figures of a plan and of the baseline; None where one of them has none."""
        mine, other = own.get(LATENCY), base.get(LATENCY)
        if mine is None or other is None:
            return None
        if mine.measured and other.measured:
            value = other.measured / mine.measured
            paired = PairedFigures.read(plan.definition)
            known = paired.speedup.get("test") if paired else None
            if paired is None or known is None:
                return cls(value, UNPAIRED)
            if plan.key == paired.baseline:
                return cls(value, MEASURED, disturbed=bool(paired.warnings))
            return cls(value, MEASURED, known.low, known.high, bool(paired.warnings))
        return predicted_speedup(mine, other)

    @property
    def says(self) -> str:
        """What the number stands on, in words."""
        return f"{self.basis}, disturbed" if self.disturbed else self.basis

    @property
    def span(self) -> str:
        """The 95 % interval; '' where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.2f}\N{EN DASH}{self.high:.2f}"

    @property
    def text(self) -> str:
        """The number with its interval."""
        return f"{self.value:.2f}x" + (f" ({self.span})" if self.span else "")


def predicted_speedup(own: MetricValues, base: MetricValues) -> SpeedUp | None:
    """What is predicted, of a plan's latency and the baseline's; None where one of them is not."""
    if not own.predicted or not base.predicted:
        return None
    return SpeedUp(base.predicted / own.predicted, PREDICTED)


def speedup_text(found: SpeedUp | None) -> str:
    """The number with its interval, or the sign for what is unknown."""
    return UNKNOWN if found is None else found.text


def speedup_columns(found: SpeedUp | None) -> dict[str, float | str | None]:
    """One level of names and values, for tables: unknown is None."""
    return {
        "speedup": found.value if found else None,
        "speedup_low": found.low if found else None,
        "speedup_high": found.high if found else None,
        "speedup_basis": found.says if found else None,
    }


def relative(own: SpeedUp | None, other: SpeedUp | None) -> SpeedUp | None:
    """How many times as fast a plan is as another, neither of which is the baseline, from what
    both are against it; None where one was measured and the other predicted."""
    if own is None or other is None or own.basis != other.basis:
        return None
    value, disturbed = own.value / other.value, own.disturbed or other.disturbed
    spans = [Known(s.value, s.low or s.value, s.high or s.value) for s in (own, other)]
    known = spans[0].over(spans[1])
    if known.low == known.high:
        return SpeedUp(value, own.basis, disturbed=disturbed)
    return SpeedUp(value, own.basis, known.low, known.high, disturbed)


def alike_in_latency(entries: Sequence[PlanEntry]) -> dict[str, tuple[str, ...]]:
    """By the keys of plans that took turns the labels of those that they cannot be told from."""
    took = {}
    for entry in entries:
        paired = PairedFigures.read(entry.plan.definition)
        if paired is not None:
            took[entry.plan.key] = (paired, plan_name(entry.plan))
    found = {}
    for key, (own, _) in took.items():
        labels = []
        for other, (its, label) in took.items():
            known = own.faster_than(other, its) if other != key else None
            if known is not None and known.holds(1.0):
                labels.append(label)
        found[key] = tuple(labels)
    return found
