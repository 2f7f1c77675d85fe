"""The quality of measurements, and the same job on other devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.db import JobRecord, MeasurementRecord, Store, VariantRecord
from trimtab.planner.reports.text import printable

#: What lies between two samples of a stage, added up: a whole inference.
_PARTS = ("resize", "tensor", "inference")


@dataclass(frozen=True)
class MeasuredVariant:
    """A measurement of a variant alone. Times in ms, with warm caches (`hot`: right after itself)
    and cold ones (`beside`: after other work); `spread` is the interdecile range of the warm
    samples relative to their median, `drift` how far the reference work at the end differs from
    that at the beginning, `explained` the share of the variance of its times that the reference
    work explains."""

    record: MeasurementRecord
    variant: str
    options: str
    hot_ms: float | None
    beside_ms: float | None
    spread: float | None
    drift: float | None
    unsteadiness: float | None
    explained: float | None
    peak_mb: float | None
    load_ms: float | None
    warnings: tuple[str, ...]
    failure: str | None


def measured_variants(store: Store, device_key: str) -> list[MeasuredVariant]:
    """What was measured of variants alone on a device, oldest first; failures too."""
    names = {variant.key: variant for variant in store.list_variants()}
    records = store.list_measurements(device_key=device_key)
    return [
        _measured(record, names.get(record.variant_key))
        for record in records
        if record.settings.get("kind") == "measure"
    ]


def _measured(record: MeasurementRecord, variant: VariantRecord | None) -> MeasuredVariant:
    hot, beside = (_whole(record, kind) for kind in ("hot", "beside"))
    pace = np.asarray(record.samples.get("reference_ms", ()))
    half = len(pace) // 2
    values = record.values
    return MeasuredVariant(
        record=record,
        variant=printable(variant.name) if variant else record.variant_key[:8],
        options=options_text(record.options),
        hot_ms=float(np.median(hot)) if len(hot) else None,
        beside_ms=float(np.median(beside)) if len(beside) else None,
        spread=float(np.ptp(np.percentile(hot, [10, 90])) / np.median(hot)) if len(hot) else None,
        drift=float(np.median(pace[half:]) / np.median(pace[:half]) - 1) if half else None,
        unsteadiness=values.get("unsteadiness"),
        explained=values.get("reference_explained"),
        peak_mb=values.get("peak_mb"),
        load_ms=values.get("load_ms"),
        warnings=tuple(map(printable, record.warnings)),
        failure=printable(record.reason) if record.reason else None,
    )


def _whole(record: MeasurementRecord, kind: str) -> Any:
    """Inferences of the first stage: their parts added up."""
    parts = [np.asarray(record.samples.get(f"0_{kind}_{part}_ms", ())) for part in _PARTS]
    return np.sum(parts, axis=0) if all(len(p) == len(parts[0]) for p in parts) else np.zeros(0)


def samples_of(record: MeasurementRecord) -> list[dict[str, Any]]:
    """Raw samples in the order in which they were taken: `what`, `share` (how far into the
    measurement) and `ms`."""
    series = {
        "reference work": np.asarray(record.samples.get("reference_ms", ())),
        "reference work, all threads": np.asarray(record.samples.get("parallel_ms", ())),
        "inference, warm cache": _whole(record, "hot"),
        "inference, cold cache": _whole(record, "beside"),
    }
    return [
        {"what": what, "share": (number + 0.5) / len(values), "ms": float(ms)}
        for what, values in series.items()
        for number, ms in enumerate(values)
    ]


def options_text(options: dict[str, Any]) -> str:
    """Runtime options in short."""
    threads = int(options.get("threads", 1))
    words = [str(options.get("engine", "")), f"{threads} thread{'s' if threads > 1 else ''}"]
    words += [str(v) for k, v in options.items() if k == "provider" and v != "default"]
    if options.get("graph_optimisation", "all") != "all":
        words.append(f"{options['graph_optimisation']} graph optimisation")
    return ", ".join([*words, *(["busy-wait"] if options.get("spinning") else [])])


def same_elsewhere(jobs: Sequence[JobRecord], job: JobRecord) -> list[JobRecord]:
    """The latest job of each device that did what `job` did: the same specification but for the
    device, the cluster and tags. `job` itself is among them."""

    def rest(each: JobRecord) -> dict[str, Any]:
        others = ("device", "cluster", "tags")
        return {name: value for name, value in each.spec.items() if name not in others}

    found: dict[str, JobRecord] = {}
    for each in sorted(jobs, key=lambda j: j.started_at):
        if each.device_key and each.workload_key == job.workload_key and rest(each) == rest(job):
            found[each.device_key] = each
    if job.device_key:
        found[job.device_key] = job
    return list(found.values())
