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
    """A quantity of a plan. `kind` is 'quality' (from a replay) or 'cost' (from measurements)."""

    name: str
    kind: str
    maximise: bool
    unit: str
    text: str


_ALL = (
    Metric("top1", "quality", True, "fraction", "share of inputs whose first answer is the label"),
    Metric("top5", "quality", True, "fraction", "share with the label among the first five"),
    Metric("balanced_accuracy", "quality", True, "fraction", "mean recall of the classes seen"),
    Metric("macro_f1", "quality", True, "fraction", "mean F1 of the classes seen"),
    Metric("agreement", "quality", True, "fraction", "share that answers as the reference does"),
    Metric("latency_mean_ms", "cost", False, "ms", "decoded image in memory to answer, mean"),
    Metric("latency_p50_ms", "cost", False, "ms", "the same, median"),
    Metric("latency_p90_ms", "cost", False, "ms", "the same, 90th percentile"),
    Metric("latency_p95_ms", "cost", False, "ms", "the same, 95th percentile"),
    Metric("latency_p99_ms", "cost", False, "ms", "the same, 99th percentile"),
    Metric("load_ms", "cost", False, "ms", "building every engine of the plan"),
    Metric("peak_memory_mb", "cost", False, "MB", "largest resident size of the process"),
    Metric("bundle_size_mb", "cost", False, "MB", "size of the models in the bundle"),
    Metric("energy_mean_mj", "cost", False, "mJ", "energy of one answer, idle subtracted"),
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


@functools.lru_cache(maxsize=4096)
def find_metric(name: str) -> Metric:
    """The metric of this name: one of METRICS, or `recall[CLASS]` of any class.

    Raises ValueError, naming the metrics and the nearest.
    """
    if name in METRICS:
        return METRICS[name]
    of = recalled_class(name)
    if of is not None:
        text = f"share of the inputs of class {of!r} that are answered so"
        return Metric(name, "quality", True, "fraction", text)
    known = ", ".join([*METRICS, RECALL_FORM])
    close = difflib.get_close_matches(name, [*METRICS, RECALL_FORM], n=1)
    if close:
        raise ValueError(f"{name!r} is no metric; did you mean {close[0]!r}? There are {known}")
    raise ValueError(f"{name!r} is no metric: {known}")
