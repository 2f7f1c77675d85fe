"""Names, units and directions of every metric: the only place where they are defined."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from typing import Optional

#: Fewest samples for a percentile at 99 % confidence (MLPerf LoadGen).
PERCENTILE_MIN_SAMPLES: dict[int, int] = {50: 1, 90: 64, 95: 130, 99: 662}


@dataclass(frozen=True)
class Metric:
    """A quantity of a plan. `kind` is 'quality' (from a replay) or 'cost' (from measurements).

    `title` is its name for people and `text` says what it is. `corrected_by` names the cost whose
    measurements in bundles correct its predictions: itself, another one, or none (''). A
    `headline` stands among the first figures of a plan.
    """

    name: str
    kind: str
    maximise: bool
    unit: str
    title: str
    text: str
    corrected_by: str = ""
    headline: bool = False

    @property
    def label(self) -> str:
        """The title, with its unit where it is a cost."""
        return f"{self.title}, {self.unit}" if self.kind == "cost" else self.title


def _quality(name: str, title: str, text: str) -> Metric:
    return Metric(name, "quality", True, "fraction", title, text)


def _cost(
    name: str, unit: str, title: str, text: str, corrected_by: str = "", headline: bool = False
) -> Metric:
    return Metric(name, "cost", False, unit, title, text, corrected_by, headline)


_MEAN = "latency_mean_ms"
_PEAK = "peak_memory_mb"

#: In the order of columns. How each is computed stands with its class: a quality in
#: search/estimates/metrics.py, a cost in search/costs/metrics.py.
_ALL = (
    _quality("top1", "top-1 accuracy", "share of inputs whose first answer is the label"),
    _quality("top5", "top-5 accuracy", "share with the label among the first five"),
    _quality("balanced_accuracy", "balanced accuracy", "mean recall of the classes seen"),
    _quality("macro_f1", "macro F1", "mean F1 of the classes seen"),
    _quality(
        "agreement", "agreement with the reference", "share that answers as the reference does"
    ),
    _cost(_MEAN, "ms", "mean latency", "decoded image in memory to answer, mean", _MEAN),
    _cost("latency_p50_ms", "ms", "latency p50", "the same, median", _MEAN),
    _cost("latency_p90_ms", "ms", "latency p90", "the same, 90th percentile", _MEAN),
    _cost("latency_p95_ms", "ms", "latency p95", "the same, 95th percentile", _MEAN),
    _cost("latency_p99_ms", "ms", "latency p99", "the same, 99th percentile", _MEAN),
    _cost("load_ms", "ms", "load", "building every engine of the plan"),
    _cost(_PEAK, "MB", "peak memory", "largest resident size of the process", _PEAK, True),
    _cost("bundle_size_mb", "MB", "size", "size of the models in the bundle", headline=True),
    _cost(
        "energy_mean_mj", "mJ", "energy", "energy of one answer, idle subtracted", headline=True
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

#: How the recall of one class is written; the class is named as the workload names it.
RECALL_FORM = "recall[CLASS]"
_RECALL = re.compile(r"recall\[(.+)\]", re.DOTALL)


def recall_of(class_name: str) -> str:
    """The name of the metric: the recall of one class."""
    return f"recall[{class_name}]"


def recalled_class(name: str) -> Optional[str]:
    """The class whose recall a metric is; None for any other metric."""
    found = _RECALL.fullmatch(name)
    return found[1] if found else None


def find_metric(name: str) -> Metric:
    """The metric of this name: one of METRICS, or `recall[CLASS]` of any class.

    Raises ValueError, naming the metrics and the nearest.
    """
    found = METRICS.get(name)
    return found if found is not None else _recall(name)


@functools.lru_cache(maxsize=4096)
def _recall(name: str) -> Metric:
    of = recalled_class(name)
    if of is not None:
        text = f"share of the inputs of class {of!r} that are classified correctly"
        return _quality(name, f"recall of {of}", text)
    known = ", ".join([*METRICS, RECALL_FORM])
    begun = [metric for metric in METRICS if name and metric.startswith(f"{name}_")]
    close = begun or difflib.get_close_matches(name, [*METRICS, RECALL_FORM], n=1)
    if close:
        raise ValueError(f"unknown metric {name!r}; did you mean {close[0]!r}? Known: {known}")
    raise ValueError(f"unknown metric {name!r}; choose one of {known}")
