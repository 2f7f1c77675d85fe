"""How a job's own work grows with images and variants; measuring on the device is left out.

CIFAR-10's images of the data pack and small networks of several depths, input sizes and
precisions. Each job runs in a process of its own, on made-up times; its steps are timed by what it
tells of its progress, and its memory is the most that it or a process of its own held. Prints a
line for each job, and one JSON object as its last line:

    exponent_images      slope of seconds against images, both as logarithms
    exponent_variants    the same against variants
    peak_gb              the most memory that a process held
    seconds              of each job, without its steps on the device

    python -m benchmarks.growth [--images 1000,5000] [--variants 4,10]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks._options import DEFAULT_DATA, ROOT, DataFolder
from benchmarks.cifar import INPUT, TEST_BATCH, write_images, write_resnet
from trimtab.db import Level, Store
from trimtab.planner import plan
from trimtab.profilers import LocalDevice, SteadyDevice
from trimtab_runtime.probe.requests import MeasureSettings

#: Steps in which the device measures.
_MEASURING = ("measure", "together", "verify", "turns", "send")
_SETTINGS = MeasureSettings(seconds=0.0, max_seconds=5.0, min_rounds=8, warmup_seconds=0.0)
#: Networks in the order in which they join: (depth, side of the input).
_NETWORKS = [(depth, side) for side in (32, 28, 24, 20, 16) for depth in (20, 32, 56)]
_PRECISIONS = ("float32", "w8a8")


class _Clock:
    """Adds up the seconds of steps. What passes before the first is reading."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._step, self._since = "read", time.monotonic()

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        now = time.monotonic()
        self.seconds[self._step] += now - self._since
        self._step, self._since = name, now

    def note(self, level: Level, subject: str, text: str) -> None: ...

    def end(self) -> Mapping[str, float]:
        self.step("", "", 0, 0)
        return self.seconds


def _specification(folder: Path, images: int, variants: int) -> dict[str, Any]:
    networks = _NETWORKS[: -(-variants // len(_PRECISIONS))]
    return {
        "name": "growth",
        "models": [
            {"path": str(folder / f"net-{depth}-{side}.onnx"), "input": {**INPUT, "size": side}}
            for depth, side in networks
        ],
        "workload": {
            "images": str(folder / f"images-{images}"),
            "near_duplicates": "together",
            "splits": {"fit": 300, "tune": (images - 300) // 2, "test": (images - 300) // 2},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": variants},
        "together": 4,
        "verify": 2,
    }


def _one_job(folder: Path, images: int, variants: int) -> None:
    """Run a job, and print what it took as JSON."""
    clock = _Clock()
    spec = _specification(folder, images, variants)
    with tempfile.TemporaryDirectory() as place, Store.open(Path(place) / "store.db") as store:
        device = SteadyDevice(LocalDevice())
        job = plan(spec, store, clock, _SETTINGS, device, setup="ignored")
        seconds = clock.end()
        candidates = job.summary["candidates"]
    held = [resource.getrusage(who).ru_maxrss for who in _WHO]
    own = {name: took for name, took in seconds.items() if name not in _MEASURING}
    print(
        json.dumps(
            {
                "images": images,
                "variants": candidates,
                "seconds": round(sum(own.values()), 1),
                "steps": {name: round(took, 1) for name, took in seconds.items()},
                "peak_gb": round(max(held) / 2**20, 2),
            }
        )
    )


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _made(data: Path, folder: Path, images: Sequence[int], variants: int) -> None:
    """Networks and images, each size a part of the next."""
    for depth, side in _NETWORKS[: -(-variants // len(_PRECISIONS))]:
        target = folder / f"net-{depth}-{side}.onnx"
        if not target.exists():
            write_resnet(data, depth, target, side)
    for count in images:
        target = folder / f"images-{count}"
        if not target.exists():
            batches = [TEST_BATCH, *range(TEST_BATCH)][: -(-count // 1000)]
            write_images(data, target, batches)


def _slope(rows: Sequence[Mapping[str, Any]], by: str) -> float | None:
    """The exponent of growth of seconds with `by`, by least squares in log-log."""
    if len({row[by] for row in rows}) < 2:
        return None
    sizes, seconds = ([np.log(row[key]) for row in rows] for key in (by, "seconds"))
    return round(float(np.polyfit(sizes, seconds, 1)[0]), 3)


def main(
    data: DataFolder = DEFAULT_DATA,
    images: Annotated[str, typer.Option(help="numbers of images, at the fewest variants")] = (
        "1000,5000,20000,50000"
    ),
    variants: Annotated[str, typer.Option(help="numbers of variants, at --at images")] = "4,10,30",
    at: Annotated[int, typer.Option(help="images of the jobs with more variants")] = 5000,
    keep: Annotated[Path | None, typer.Option(help="where networks and images are kept")] = None,
    one: Annotated[tuple[int, int], typer.Option(hidden=True)] = (0, 0),
) -> None:
    """Print a line for every job, and the exponents."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        if all(one):
            _one_job(folder, *one)
            return
        folder.mkdir(parents=True, exist_ok=True)
        sizes, counts = ([int(part) for part in told.split(",")] for told in (images, variants))
        _made(data, folder, sorted({*sizes, at}), max(counts))
        jobs = [(size, min(counts)) for size in sizes]
        jobs += [(at, count) for count in counts if (at, count) not in jobs]
        rows = [_run(folder, *job) for job in jobs]
    few, fixed = (
        [row for row, job in zip(rows, jobs, strict=True) if job[place] == value]
        for place, value in ((1, min(counts)), (0, at))
    )
    told = {
        "exponent_images": _slope(few, "images"),
        "exponent_variants": _slope(fixed, "variants"),
        "peak_gb": max(row["peak_gb"] for row in rows),
        "seconds": {f"{row['images']} x {row['variants']}": row["seconds"] for row in rows},
    }
    print(json.dumps(told))


def _run(folder: Path, images: int, variants: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.growth", "--keep", str(folder)]
    command += ["--one", str(images), str(variants)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    typer.run(main)
