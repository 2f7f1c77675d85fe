"""A small real job: two networks, 150 photographs, plans of every kind; on made-up times."""

from __future__ import annotations

import sys
from pathlib import Path

import trimtab
from benchmarks._options import SUPPORT
from trimtab.db import JobRecord, Store
from trimtab.profilers import LocalDevice, SteadyDevice
from trimtab_runtime.probe.requests import MeasureSettings

_SETTINGS = MeasureSettings(seconds=0.0, max_seconds=5.0, min_rounds=8, warmup_seconds=0.0)


def plan_small_job(folder: Path, store: Store) -> JobRecord:
    """Write networks and photographs into `folder`, and plan for them; the job."""
    sys.path.insert(0, str(SUPPORT))
    from sample_models import INPUT, write_onnx, write_photos

    widths = {"small": 4, "large": 128}
    for name, width in widths.items():
        write_onnx(folder / f"{name}.onnx", width=width)
    write_photos(folder / "photos", 150)
    spec = {
        "name": "small",
        "models": [{"path": str(folder / f"{name}.onnx"), "input": INPUT} for name in widths],
        "workload": {
            "images": str(folder / "photos"),
            "splits": {"fit": 60, "tune": 50, "test": 40},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"premodel": True},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 4},
        "together": 8,
        "verify": 2,
    }
    return trimtab.plan(
        spec, store, settings=_SETTINGS, device=SteadyDevice(LocalDevice()), setup="ignored"
    )


def small_store(folder: Path) -> Path:
    """A store with that job, below `folder`."""
    path = folder / "small" / "trimtab.db"
    path.parent.mkdir()
    with Store.open(path) as store:
        plan_small_job(folder, store)
    return path
