"""A quality and a cost that the product does not have, added as anybody would add them."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.search.costs import metrics as costs
from trimtab.search.costs.metrics import FixedCost, MeasuredPlan
from trimtab.search.estimates import metrics as qualities
from trimtab.search.estimates.metric_bases import LinearisedMetric
from trimtab_runtime.metrics import METRICS, Metric

_SOURCE = Path(__file__).resolve().parents[2] / "src"

Array = np.ndarray[Any, np.dtype[Any]]

#: All that there is to add, beside a class each.
KAPPA = Metric("cohens_kappa", "quality", True, "", "Cohen's kappa", "agreement beyond chance")
START = Metric("start_memory_mb", "cost", False, "MB", "memory at start", "before any model")


class CohensKappa(LinearisedMetric):
    """How far answers agree with labels beyond chance (Cohen, 1960)."""

    name = "cohens_kappa"
    limits = (-1.0, 1.0)

    def figure(self, of_class: Array, answered: Array, right: Array) -> Array:
        total = of_class.sum(1)
        by_chance = (of_class * answered).sum(1) / total**2
        gained, possible = right.sum(1) / total - by_chance, 1.0 - by_chance
        return np.divide(gained, possible, out=np.ones(len(total)), where=possible > 0.0)

    def slopes(
        self, share: Array, answered: Array, hits: Array, seen: Array
    ) -> tuple[Array, Array, float]:
        possible = 1.0 - float(share @ answered)
        kappa = (float(hits.sum()) - float(share @ answered)) / possible
        by_right = np.full(len(share), 1.0 / possible)
        by_answer = share * (float(hits.sum()) - 1.0) / possible**2
        return by_right, by_answer, kappa - float(by_right @ hits + by_answer @ answered)


class StartMemory(FixedCost):
    """The resident size of a process before it loads anything."""

    name = "start_memory_mb"

    def predict(self, plan: MeasuredPlan) -> float | None:
        known = [values.get("start_mb") for values in plan.values]
        return max((value for value in known if value is not None), default=None)


def add_kappa(patch: pytest.MonkeyPatch) -> None:
    """Add the quality; undoing the patch takes it out again."""
    patch.setitem(METRICS, KAPPA.name, KAPPA)
    patch.setitem(qualities.QUALITY_METRICS, KAPPA.name, CohensKappa())
    qualities.register(CohensKappa)


def add_start_memory(patch: pytest.MonkeyPatch) -> None:
    """Add the cost; undoing the patch takes it out again."""
    patch.setitem(METRICS, START.name, START)
    patch.setitem(costs.COST_METRICS, START.name, StartMemory())
    costs.register(StartMemory)


def extended_source(folder: Path) -> Path:
    """A copy of the source in which the definitions and the classes were written down: what to
    put on PYTHONPATH, so that all programs know them, on the device too."""
    target = folder / "src"
    shutil.copytree(_SOURCE, target, ignore=shutil.ignore_patterns("__pycache__"))
    defined = "".join(f"METRICS[{each.name!r}] = {each!r}\n" for each in (KAPPA, START))
    additions = {
        "trimtab_runtime/metrics.py": defined,
        "trimtab/search/estimates/metrics.py": "@register\n" + inspect.getsource(CohensKappa),
        "trimtab/search/costs/metrics.py": "@register\n" + inspect.getsource(StartMemory),
    }
    for name, text in additions.items():
        with (target / name).open("a", encoding="utf-8") as file:
            file.write("\n\n" + text)
    return target
