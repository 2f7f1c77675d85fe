"""A job on EfficientNet-Lite 0, 1 and 2 with slimming switched on, on one thread.

Leaves its store in a folder (run again, it goes on there). Prints what `trimtab front` and `show`
do, then one JSON object: what slimming found in every member, and which slimmed variants are
on the front. Needs the ImageNet data pack and the `demo` extra.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import trimtab
from benchmarks.zoo import DEFAULT_DATA, imagenet_job, lite_members
from trimtab.db import JobRecord, Store
from trimtab.planner.cli import app


def main(
    store: Annotated[Path, typer.Argument(help="a folder for the store")],
    data: Annotated[Path, typer.Option(envvar="TRIMTAB_DATA")] = DEFAULT_DATA,
    minutes: Annotated[float, typer.Option(help="budget of the search")] = 30.0,
) -> None:
    """Plan, print."""
    store.mkdir(parents=True, exist_ok=True)
    spec = imagenet_job(
        data,
        store / "classes.txt",
        name="lite-slimming",
        models=lite_members(),
        techniques={"slimming": True},
        budget={"minutes": minutes},
    )
    spec["workload"]["splits"] = {"fit": 400, "tune": 450, "test": 450, "seed": 0}
    path = store / "trimtab.db"
    with Store.open(path) as opened:
        job = trimtab.plan(spec, opened)
        figures = _figures(opened, job)
    for command in (["front", job.id], ["show", str(job.summary["chosen"])]):
        app(["--store", str(path), *command], standalone_mode=False)
    print(json.dumps(figures))


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
