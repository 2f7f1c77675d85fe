"""Names, units and directions of every metric: the only place where they are defined."""

from __future__ import annotations

from dataclasses import dataclass

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
