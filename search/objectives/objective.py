"""A metric to be maximised or minimised."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab_runtime.metrics import find_metric


@dataclass(frozen=True)
class Objective:
    """A metric to be maximised or minimised, as metrics.py says."""

    metric: str

    def cost(self, value: float) -> float:
        """The value as something to be minimised."""
        return -value if find_metric(self.metric).maximise else value
