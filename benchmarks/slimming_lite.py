"""A job on EfficientNet-Lite 0, 1 and 2 with slimming switched on, on one thread.

Prints what `trimtab front` and `show` do, and one JSON object as its last line: `front` is the
number of plans there, `slimmed_on_front` those of them with a slimmed variant, `members` what
slimming found in each. With `--store` a folder keeps what was found: run again, it goes on there.
Needs the ImageNet data pack and the `demo` extra.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

import trimtab
from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.zoo import imagenet_job, lite_members
from trimtab.db import JobRecord, Store
from trimtab.planner.cli import app


def main(
    data: DataFolder = DEFAULT_DATA,
    store: Annotated[Path | None, typer.Option(help="keep the store here")] = None,
    minutes: Annotated[float, typer.Option(help="budget of the search")] = 30.0,
) -> None:
    """Plan, print."""
    with tempfile.TemporaryDirectory() as folder:
        home = store or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        print(json.dumps(run(home, data, minutes)))


def run(home: Path, data: Path, minutes: float) -> dict[str, Any]:
    """The figures of a job whose store is in a folder."""
    spec = imagenet_job(
        data,
        home / "classes.txt",
        name="lite-slimming",
        models=lite_members(),
        techniques={"slimming": True},
        budget={"minutes": minutes},
    )
    spec["workload"]["splits"] = {"fit": 400, "tune": 450, "test": 450, "seed": 0}
    path = home / "trimtab.db"
    with Store.open(path) as opened:
        job = trimtab.plan(spec, opened)
        figures = _figures(opened, job)
    for command in (["front", job.id], ["show", str(job.summary["chosen"])]):
        app(["--store", str(path), *command], standalone_mode=False)
    return figures


def _figures(store: Store, job: JobRecord) -> dict[str, Any]:
    entries = [entry.plan for entry in store.list_plans(job.id) if entry.plan.on_front]
    slim = [plan.label for plan in entries if " slim" in plan.label]
    return {
        "front": len(entries),
        "slimmed_on_front": slim,
        "members": {
            name: {
                "whole_ms": told.get("whole_ms"),
                "blocks_learned": len(told.get("blocks", [])),
                "built": [
                    {
                        key: entry.get(key)
                        for key in ("name", "saved_ms", "disagreement", "quality")
                    }
                    for entry in told.get("built", [])
                ],
                "reason": told.get("reason"),
            }
            for name, told in job.summary["slimming"].items()
        },
    }


if __name__ == "__main__":
    typer.run(main)
