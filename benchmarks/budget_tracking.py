"""Is a latency budget held while another process takes and leaves the core?

A bundle of MobileNet v1 0.5 160 (uint8) → EfficientNet-Lite0 w8a8 → Lite2 (the data pack, and the
`demo` extra; the mean of what ran answers) with the operating points that its structure has on
`tune`, one thread, on one core of this machine. A second process spins on that very core for
random stretches of some seconds, the same in both runs, so that everything takes about twice as
long. The bundle answers photographs of `test` one after another, first at the point that
`use(latency_ms=budget)` chooses, then under `track(latency_ms=budget)`. The budget, unless given,
is the geometric mean of the slowest point and of the fastest one under load.

Windows are 50 answers each. `within_10_percent` is the share of those whose mean latency is at
most 10 % above the budget: a budget is an upper bound, and to stay below breaks no promise; what
that costs shows in `top1`. `within_10_percent_both_sides` asks for at most 10 % below, too. Keys
that end in `_untracked` are those of the fixed point. Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import tempfile
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

import trimtab
from benchmarks.zoo import DEFAULT_DATA, imagenet_job, lite_members, tflite_members
from benchmarks.zoo_imagenet import Lines
from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.pipeline.single_device import SingleDeviceJob
from trimtab.planner.selection.operating_points import family
from trimtab.planner.selection.selector import PlanSelector
from trimtab.search.candidates.candidate import Candidate, VariantForm
from trimtab.search.plans.cascades import Sweeps
from trimtab.search.plans.problem import Problem
from trimtab_runtime import Plan
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.engines import format_engine
from trimtab_runtime.images.preprocess import decode_image

#: The stages, and the group of options that they are.
STAGES = (("mobilenet_v1_0.5_160_quant", "as_is"), ("lite0", "w8a8"), ("lite2", "as_is"))
GROUP = (0, 1, 2)
#: Answers whose mean is compared with the budget.
WINDOW = 50
#: How long the other process takes the core, and leaves it.
STRETCH_S = (4.0, 10.0)
_WARM = 40


def main(
    data: Annotated[Path, typer.Option(envvar="TRIMTAB_DATA")] = DEFAULT_DATA,
    store: Annotated[Path | None, typer.Option(help="keep the store here")] = None,
    seconds: Annotated[float, typer.Option(help="of each of the two runs")] = 100.0,
    budget_ms: Annotated[float | None, typer.Option(help="default: see above")] = None,
) -> None:
    """Make the bundle, run it twice beside the other process, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        home = store or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        with trimtab.Store.open(home / "trimtab.db") as opened:
            bundle, images, labels = made(data, home, opened)
        os.environ["TRIMTAB_CACHE"] = str(Path(folder) / "cache")
        print(json.dumps(figures(bundle, images, labels, seconds, budget_ms)))


def made(data: Path, home: Path, store: trimtab.Store) -> tuple[Path, list[Path], list[int]]:
    """The bundle, and the photographs of `test` with their labels."""
    members = [{"name": Path(m["path"]).stem, **m} for m in tflite_members(data)] + lite_members()
    spec = imagenet_job(
        data,
        home / "classes.txt",
        name="budget-tracking",
        baseline="lite2",
        models=[member for member in members if member["name"] in dict(STAGES)],
    )
    with opened_run(trimtab.load_spec(spec), store, Lines()) as run:
        stage = PlanningStage(run.evaluator, _measured(run))
        problem = stage.selector.problem(stage.measured_together([GROUP]))
        bundle = _bundle(run.evaluator, stage.selector, problem, home / "tracked.pyz")
        items, labels, test = (
            run.evaluator.items,
            run.evaluator.rows.labels,
            stage.selector.data.rows.test,
        )
        assert labels is not None
        return bundle, [items[row].path for row in test], [int(labels[row]) for row in test]


def _measured(run: SingleDeviceJob) -> list[Measured]:
    """Both stages, measured alone and traced."""
    built = {member.name: member.built for member in run.members()}
    found = []
    for name, precision in STAGES:
        form = VariantForm.parse(precision)
        stage = run.evaluator.built(built[name], form)
        options = RuntimeOptions(format_engine(stage.variant.format))
        print(f"measure: {name} {precision}", flush=True)
        measurement = run.evaluator.measurements.measurement([StageSetup(stage, options)])
        outputs = run.evaluator.traces.trace(stage, options)
        found.append(Measured(Candidate(name, form, options), stage, measurement, outputs))
    return found


def _bundle(
    evaluator: CandidateEvaluator, selector: PlanSelector, problem: Problem, target: Path
) -> Path:
    judged = [selector.candidate(plan) for plan in Sweeps(problem).plans(GROUP, "mean")]
    data = selector.data
    own, quality = judged[len(judged) // 2], data.quality[0]
    points = family(judged, own, quality)
    for point in points:
        text = ", ".join(f"{name} {value:.3f}" for name, value in sorted(point.metrics.items()))
        print(f"point {point.thresholds}: {text}")
    parts = [data.measured[index].built for index in GROUP]
    return write_bundle(
        BundleParts(
            name=own.label,
            definition=own.definition,
            points=points,
            variants={part.variant.sha256: part.variant for part in parts},
            models={part.variant.sha256: part.path for part in parts},
            labels=list(data.rows.classes),
            images=[evaluator.items[row].path for row in data.rows.fit[:24]],
            fingerprint=evaluator.job.fingerprint,
        ),
        target,
    )


def figures(
    bundle: Path,
    images: Sequence[Path],
    labels: Sequence[int],
    seconds: float,
    budget_ms: float | None,
) -> dict[str, Any]:
    """Both runs, one after the other."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    plan = Plan.load(str(bundle))
    means = [point.metrics["latency_mean_ms"] for point in plan.manifest.points]
    budget_ms = budget_ms or math.sqrt(2.0 * min(means) * max(means))
    decoded = [decode_image(str(path)) for path in images]
    for image in decoded[:_WARM]:
        plan.rehearse(image)
    found: dict[str, Any] = {"budget_ms": budget_ms, "points": len(means)}
    for name in ("_untracked", ""):
        plan.use(latency_ms=budget_ms)
        if not name:
            plan.track(latency_ms=budget_ms)
        with other_process(core, seconds) as changes:
            ran = _run(plan, decoded, labels, seconds, changes)
        for key, value in _told(ran, budget_ms).items():
            found[f"{key}{name}"] = value
    assert plan.tracking is not None
    return {**found, "moves": plan.tracking.moves, "slowdown": plan.tracking.slowdown}


class Ran(NamedTuple):
    """What became of every answer (answers,): its latency in ms, whether it was right, and whether
    the core was shared."""

    latency_ms: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]
    shared: np.ndarray[Any, Any]


def _run(
    plan: Plan,
    images: Sequence[Any],
    labels: Sequence[int],
    seconds: float,
    changes: Sequence[float],
) -> Ran:
    order = np.random.default_rng(1)
    found = []
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        number = int(order.integers(len(images)))
        answer = plan.classify(images[number])
        shared = bisect(changes, now) % 2 == 1
        found.append((answer.latency_ms, answer.index == labels[number], shared))
    return Ran(*map(np.array, zip(*found, strict=True)))


def _told(ran: Ran, budget_ms: float) -> dict[str, float]:
    latency = ran.latency_ms
    whole = len(latency) // WINDOW * WINDOW
    windows = latency[:whole].reshape(-1, WINDOW).mean(1) / budget_ms
    return {
        "within_10_percent": float((windows <= 1.1).mean()),
        "within_10_percent_both_sides": float((abs(windows - 1.0) <= 0.1).mean()),
        "top1": float(ran.right.mean()),
        "latency_mean_ms": float(latency.mean()),
        "latency_mean_shared_ms": float(latency[ran.shared].mean()),
        "latency_mean_alone_ms": float(latency[~ran.shared].mean()),
        "windows": len(windows),
    }


@contextmanager
def other_process(core: int, seconds: float) -> Iterator[list[float]]:
    """A process that leaves the core, takes it, leaves it, ... Yields the times of the changes, in
    seconds from now."""
    lengths = np.random.default_rng(0).uniform(*STRETCH_S, 2 + int(seconds / STRETCH_S[0]))
    changes = [float(end) for end in np.cumsum(lengths)]
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    process = context.Process(target=_take_and_leave, args=(core, changes, ready), daemon=True)
    process.start()
    ready.wait()
    try:
        yield changes
    finally:
        process.terminate()
        process.join()


def _take_and_leave(core: int, changes: Sequence[float], ready: Any) -> None:
    os.sched_setaffinity(0, {core})
    ready.wait()
    begin = time.monotonic()
    for number, end in enumerate(changes):
        while (left := begin + end - time.monotonic()) > 0:
            if number % 2 == 0:
                time.sleep(left)


if __name__ == "__main__":
    typer.run(main)
