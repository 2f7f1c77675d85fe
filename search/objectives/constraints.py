"""Constraints on a plan's metrics, with an unmeasured metric as a third answer."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import find_metric

Answer = Literal["yes", "no", "unknown"]

_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_FORM = re.compile(
    rf"^\s*(?P<metric>\w+(?:\[.*\])?)\s*(?P<operator><=|>=|<|>)\s*"
    rf"(?:(?P<factor>{_NUMBER})\s*\*\s*)?"
    rf"(?:(?P<baseline>baseline)\s*(?P<offset>[+-]\s*{_NUMBER})?|(?P<limit>{_NUMBER}))\s*$"
)
_OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Constraint:
    """metric operator (factor * baseline + offset), or with factor 0 just the offset."""

    text: str
    metric: str
    operator: str
    factor: float
    offset: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read 'latency_p95_ms <= 30', 'top1 >= 0.99 * baseline', 'top1 >= baseline - 0.01' or
        'recall[some class] >= 0.95'.

        Raises SpecificationError, naming what is possible.
        """
        found = _FORM.match(text)
        if not found or (found["factor"] and not found["baseline"]):
            raise SpecificationError(
                f"{text!r} is not a constraint; write 'METRIC <= NUMBER', "
                "'METRIC >= NUMBER * baseline' or 'METRIC >= baseline - NUMBER'"
            )
        try:
            metric = find_metric(found["metric"])
        except ValueError as error:
            raise SpecificationError(str(error)) from None
        relative = found["baseline"] is not None
        offset = found["offset"] if relative else found["limit"]
        return cls(
            text,
            metric.name,
            found["operator"],
            float(found["factor"] or 1.0) if relative else 0.0,
            float((offset or "0").replace(" ", "")),
        )

    def limit(self, baseline: Mapping[str, float]) -> float | None:
        """The number to compare with; None when the baseline's metric is unknown."""
        if self.factor == 0.0:
            return self.offset
        known = baseline.get(self.metric)
        return None if known is None else self.factor * known + self.offset

    def check(self, values: Mapping[str, float], baseline: Mapping[str, float]) -> Answer:
        """'yes', 'no', or 'unknown' where the metric was not measured."""
        limit, value = self.limit(baseline), values.get(self.metric)
        if limit is None or value is None:
            return "unknown"
        return "yes" if _OPERATORS[self.operator](value, limit) else "no"

    def shortfall(self, values: Mapping[str, float], baseline: Mapping[str, float]) -> float:
        """By how much a constraint is missed, relative to its limit; 0 where it is met and
        infinity where it is unknown."""
        limit, value = self.limit(baseline), values.get(self.metric)
        if limit is None or value is None:
            return float("inf")
        if self.check(values, baseline) == "yes":
            return 0.0
        return abs(value - limit) / max(abs(limit), 1e-12)

    def missed(self, values: Mapping[str, float], baseline: Mapping[str, float]) -> str:
        """How a constraint that is not met is missed, and by how much."""
        limit, value = self.limit(baseline), values.get(self.metric)
        if value is None or limit is None:
            return f"{self.text}: {self.metric} is unknown"
        return f"{self.text}: {value:.4g}, misses {limit:.4g} by {abs(value - limit):.2g}"


def feasible(
    constraints: Sequence[Constraint], values: Mapping[str, float], baseline: Mapping[str, float]
) -> Answer:
    """'yes' when all are met, 'no' when one is broken, else 'unknown'."""
    answers = {constraint.check(values, baseline) for constraint in constraints}
    return "no" if "no" in answers else "unknown" if "unknown" in answers else "yes"


def shortfall(
    constraints: Sequence[Constraint], values: Mapping[str, float], baseline: Mapping[str, float]
) -> float:
    """The largest of the constraints' shortfalls."""
    return max((c.shortfall(values, baseline) for c in constraints), default=0.0)
