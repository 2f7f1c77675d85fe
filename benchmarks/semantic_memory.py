"""What early exits and the semantic memory save on streams, by the wall-clock of bundles.

For every stream and seed: a whole job on one member (one thread), which searches on `tune` and
verifies on `test` the exported bundles of the plain network, of the chosen plan and of the plans
it is compared with: 'hold last' (the last answer while the frame looks alike), 'thumbnails only',
and the memory as published. `tune` and `test` are halves by object of images that no network was
trained on. Prints one JSON object as its last line: means over seeds; `interval` is that of
`top1_drop_points` over seeds.

Streams (frozen here, see RECIPES): objects by Zipf's law with exponent 1, shifts of up to 3
pixels by random walk, gain walk 2 %, noise 1 %.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trimtab
from benchmarks.cifar import INPUT, TEST_BATCH, write_images, write_resnet
from benchmarks.zoo import DEFAULT_DATA, imagenet_job
from benchmarks.zoo_imagenet import Lines
from trimtab.db import JobRecord
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.pipeline.single_device import SingleDeviceJob
from trimtab.workloads import Splits
from trimtab_runtime.probe.requests import MeasureSettings

MOTION = {"zipf": 1.0, "shift": 3, "gain": 0.02, "noise": 0.01}
#: Of each split; moved frames show the same few objects, so more of them are needed.
FRAMES, MOVED = 1000, 4000
RECIPES: dict[str, dict[str, Any]] = {
    "independent": {"kind": "independent"},
    "longtail": {"kind": "longtail", "zipf": 1.0},
    "dwelling": {"kind": "dwelling", "mean_frames": 15, **MOTION},
    "interleaved": {"kind": "interleaved", "mean_frames": 15, "objects": 4, **MOTION},
    "hot_classes": {"kind": "hot_classes", "stretch": 60, "classes": 3},
}
#: Where no top-1 may be lost on tune; elsewhere half a point, of ours as of rivals.
STRICT = ("hot_classes",)
RIVALS = {
    "hold last": "hold_last",
    "thumbnails only": "thumbnails",
    "memory as published": "published",
}
FIT_BATCHES = range(15)
SETTINGS = MeasureSettings(seconds=0.6, min_rounds=16)


def main(
    data: Annotated[Path, typer.Option(envvar="TRIMTAB_DATA")] = DEFAULT_DATA,
    model: Annotated[str, typer.Option(help="resnet56 or lite0")] = "resnet56",
    seeds: int = 5,
    streams: Annotated[str | None, typer.Option(help="a few of them, with commas")] = None,
    store: Annotated[Path | None, typer.Option(help="keep the store here")] = None,
) -> None:
    """Run all streams and print the figures."""
    default = list(RECIPES) if model == "resnet56" else ["dwelling", "interleaved"]
    names = streams.split(",") if streams else default
    figures: dict[str, Any] = {"model": model, "seeds": seeds}
    with tempfile.TemporaryDirectory() as folder:
        home = store or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        if model == "resnet56":
            write_images(data, home / "images", [*FIT_BATCHES, TEST_BATCH])
            write_resnet(data, 56, home / "resnet56.onnx")
        with trimtab.Store.open(home / "trimtab.db") as opened:
            for name in names:
                found = [_one(data, home, opened, model, name, seed) for seed in range(seeds)]
                figures[name] = _means(found)
                print(json.dumps({name: figures[name]}), flush=True)
    print(json.dumps(figures))


def _one(
    data: Path, home: Path, store: trimtab.Store, model: str, stream: str, seed: int
) -> dict[str, float]:
    """Figures of one job."""
    spec = _job(data, home, model, stream, seed)
    with opened_run(trimtab.load_spec(spec), store, Lines(), SETTINGS) as run:
        if model == "resnet56":
            run = SingleDeviceJob.of(replace(run.job, splits=_halves(run.job, seed)), run.shapes)
        measured = run.measure(run.members())
        run.job.remember(classes=measured[0].outputs.shape[1], candidates=len(measured))
        PlanningStage(run.evaluator, measured).decide()
    found = _figures(store, run.job.record)
    print(json.dumps({"stream": stream, "seed": seed, **found}), flush=True)
    return found


def _job(data: Path, home: Path, model: str, stream: str, seed: int) -> dict[str, Any]:
    recipe = dict(RECIPES[stream])
    if stream != "independent":
        recipe["frames"] = MOVED if "noise" in recipe else FRAMES
    common = {
        "name": f"{model}-{stream}-{seed}",
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "constraints": [] if stream in STRICT else ["top1 >= baseline - 0.005"],
        "techniques": {"cascade": False, "quantisation": [], "exits": True, "memory": True},
        "runtime": {"threads": [1]},
        "budget": {"minutes": 10, "measurements": 1},
        "together": 6,
        "verify": 0,
    }
    splits = {"fit": 300, "tune": 500, "test": 500, "seed": seed}
    if model == "lite0":
        spec = imagenet_job(data, home / "classes.txt", **common)
        spec["models"] = [member for member in spec["models"] if member.get("name") == "lite0"]
        spec["workload"] |= {"splits": splits, "stream": recipe}
        return spec
    folder = home / "images"
    workload = {"images": str(folder), "labels": str(folder / "labels.csv")}
    return {
        **common,
        "models": [{"path": str(home / "resnet56.onnx"), "input": INPUT}],
        "workload": {**workload, "splits": splits, "stream": recipe},
    }


def _halves(job: JobContext, seed: int) -> Splits:
    """`fit` from batches that networks were trained on, `tune` and `test` from the one they were
    not."""
    names = [item.name for item in job.workload.items]
    held_out = np.array([name.startswith(f"{TEST_BATCH:02}-") for name in names])
    rng = np.random.default_rng(seed)
    fit, halves = np.flatnonzero(~held_out), rng.permutation(np.flatnonzero(held_out))
    middle = len(halves) // 2
    sizes = (len(fit), middle, len(halves) - middle)
    return Splits(fit, halves[:middle], halves[middle:], sizes, seed)


def _figures(store: trimtab.Store, job: JobRecord) -> dict[str, float]:
    """Speed and accuracy against the plain network, of the chosen plan and of its rivals."""
    entries = {entry.plan.key: entry for entry in store.list_plans(job.id)}
    verified = {v.plan_key: v.values for v in store.list_verifications(job.id) if v.state == "ok"}
    plain = job.summary["baseline"]
    rivals = {
        name: next((k for k in verified if entries[k].plan.label.endswith(f": {label}")), None)
        for label, name in RIVALS.items()
    }
    found: dict[str, float] = {}
    for name, key in {"": job.summary["chosen"], **rivals}.items():
        if key is None:
            continue
        prefix = f"{name}_" if name else ""
        base, own = verified[plain]["latency_mean_ms"], verified[key]["latency_mean_ms"]
        tops = [entries[k].value("top1", "test", "replayed") for k in (plain, key)]
        assert tops[0] is not None and tops[1] is not None
        found[f"{prefix}speedup"] = base / own
        found[f"{prefix}top1_drop_points"] = 100 * (tops[0] - tops[1])
        found[f"{prefix}exit_mismatch"] = verified[key]["answer_mismatch"]
    chosen = entries[job.summary["chosen"]]
    predicted = chosen.value("latency_mean_ms", "test", "predicted")
    assert predicted is not None
    found["latency_error"] = abs(predicted / verified[chosen.plan.key]["latency_mean_ms"] - 1)
    found["plain_ms"] = verified[plain]["latency_mean_ms"]
    print(chosen.plan.label, flush=True)
    return found


def _means(found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over seeds, rivals in dictionaries of their own."""
    figures: dict[str, Any] = {}
    for name in sorted(set.intersection(*(set(one) for one in found))):
        values = np.array([one[name] for one in found])
        rival = next((r for r in RIVALS.values() if name.startswith(f"{r}_")), None)
        place = figures.setdefault(rival, {}) if rival else figures
        short = name.removeprefix(f"{rival}_") if rival else name
        place[short] = float(values.max() if short == "exit_mismatch" else values.mean())
        if short == "top1_drop_points" and len(values) > 1:
            half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
            place["interval"] = [float(values.mean() - half), float(values.mean() + half)]
    return figures


if __name__ == "__main__":
    typer.run(main)
