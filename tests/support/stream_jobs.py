"""Specifications of jobs over streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.planner.specification.job import JobSpec, load_spec

SIZES = {"fit": 24, "tune": 24, "test": 24}


def spec_of(photos: Path, stream: Any = None, techniques: Any = None, **changes: Any) -> JobSpec:
    workload = {"images": str(photos), "splits": dict(SIZES)}
    if changes.pop("grouped", False):
        workload["splits"] |= {"group": "shown"}
    if stream is not None:
        workload["stream"] = stream
    return load_spec(
        {
            "name": "x",
            "models": [{"path": "a.onnx"}],
            "workload": workload,
            "objectives": {"top1": "max", "latency_mean_ms": "min"},
            "techniques": techniques or {},
            **changes,
        }
    )
