"""A small whole job with a good member, which hostile things beside it must not end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from benchmarks._options import SUPPORT
from benchmarks.hostile.cases import Attempt, Ended

sys.path.insert(0, str(SUPPORT))
from sample_models import INPUT, write_onnx, write_photos


def small_job(attempt: Attempt, models: Sequence[Mapping[str, Any]] = ()) -> str:
    """Write a specification, its images and a good member; its file name."""
    folder = attempt.folder
    write_photos(folder / "photos", 60)
    write_onnx(folder / "good.onnx", width=4)
    data = {
        "name": "hostile",
        "models": [{"path": "good.onnx", "input": INPUT}, *models],
        "workload": {"images": "photos", "splits": {"fit": 20, "tune": 20, "test": 20}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "techniques": {"quantisation": ["w8a8"], "exits": True},
        "budget": {"measurements": 4, "stall_seconds": 20},
        "together": 1,
        "verify": 1,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(data))
    return "job.yaml"


def must_go_on(attempt: Attempt, models: Sequence[Mapping[str, Any]]) -> None:
    """Run the job with hostile models beside the good one. Raises `Ended` unless it chooses a
    plan."""
    done = attempt.trimtab("plan", "--force", small_job(attempt, models), limit_s=550.0)
    if "Chosen" not in done.output:
        raise Ended(f"no plan was chosen: {done.output.strip()[-300:]}")
