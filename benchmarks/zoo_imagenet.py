"""How fast is the plan that is not worse than EfficientNet-Lite2 (and 1)?

Every member and its w8a8 variant is measured and traced once on this machine, one thread. For
each of many random splits, and again with tune and test swapped, the plan is chosen on `tune`
alone and replayed on `test`; the split of seed 0 is also verified with exported bundles. Prints
one JSON object as its last line.
"""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trimtab
from benchmarks.zoo import DEFAULT_DATA, imagenet_job
from planner.choosing import Choice, Judged
from planner.inputs import Rows
from planner.job import opened_run
from planner.measuring import Measured
from planner.spec import JobSpec

RIVALS = ("lite2", "lite1")


class Lines:
    """Prints a line for every candidate and every note."""

    def __init__(self) -> None:
        self._last = ""

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        if f"{name} {detail}" != self._last:
            self._last = f"{name} {detail}"
            print(f"{name}: {detail}", flush=True)

    def note(self, level: str, subject: str, text: str) -> None:
        print(f"{level}: {subject}: {text}", flush=True)


def main(
    data: Annotated[Path, typer.Option(envvar="TRIMTAB_DATA")] = DEFAULT_DATA,
    store: Annotated[Path | None, typer.Option(help="keep the store here")] = None,
    splits: int = 50,
) -> None:
    """Measure, choose on `splits` random splits, verify one, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        home = store or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        with trimtab.Store.open(home / "trimtab.db") as opened:
            figures = run(data, home, opened, splits)
    print(json.dumps(figures))


def run(data: Path, home: Path, store: trimtab.Store, splits: int) -> dict[str, Any]:
    """All figures of the benchmark."""
    specs = {
        rival: trimtab.load_spec(
            imagenet_job(data, home / "classes.txt", baseline=rival, verify=4)
        )
        for rival in RIVALS
    }
    figures: dict[str, Any] = {}
    for rival, spec in specs.items():
        figures |= verified(store, trimtab.plan(spec, store, Lines()).id, rival)
    with opened_run(specs["lite2"], store) as job:
        measured = job.measure(job.members())
        rows = job.rows
    for rival in RIVALS:
        figures |= over_splits(specs[rival], measured, rows, rival, splits)
    return _merged(figures)


def verified(store: trimtab.Store, job_id: str, rival: str) -> dict[str, Any]:
    """What the exported bundles of the frozen split measured, against what was predicted."""
    job = store.get_job(job_id)
    assert job is not None
    plans = {entry.plan.key: entry for entry in store.list_plans(job_id)}
    errors, mismatches, latency = [], [], {}
    for found in store.list_verifications(job_id):
        entry = plans.get(found.plan_key)
        if entry is None or found.state != "ok":
            continue
        predicted = entry.value("latency_mean_ms", "test", "predicted")
        assert predicted is not None
        latency[found.plan_key] = found.values["latency_mean_ms"]
        errors.append(abs(predicted / latency[found.plan_key] - 1))
        mismatches.append(found.values["answer_mismatch"])
        print(
            f"verified {entry.plan.label}: predicted {predicted:.2f} ms, "
            f"measured {latency[found.plan_key]:.2f} ms, drift {found.values['drift']:.2f}"
        )
    chosen, baseline = job.summary["chosen"], job.summary["baseline"]
    return {
        f"verified_speedup_vs_{rival}": latency[baseline] / latency[chosen],
        f"chosen_vs_{rival}": plans[chosen].plan.label,
        f"latency_errors_{rival}": errors,
        f"answer_mismatches_{rival}": mismatches,
    }


def over_splits(
    spec: JobSpec, measured: Sequence[Measured], rows: Rows, rival: str, splits: int
) -> dict[str, Any]:
    """Speed, difference on test and optimism of what is chosen on tune, over random splits."""
    cases = list(itertools.product(range(splits), (False, True)))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawn) as pool:
        evaluate = functools.partial(one_split, spec, measured, rows)
        found = []
        for *figures, label in pool.map(evaluate, *zip(*cases, strict=True)):
            found.append(figures)
            print(f"{rival}: {figures[0]:.2f}x, {figures[1]:+.1f} points, {label}", flush=True)
    speed, difference, optimism_points = np.array(found).T
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(found))
    mean = float(difference.mean())
    return {
        f"speedup_vs_{rival}": float(np.median(speed)),
        f"test_difference_points_vs_{rival}": mean,
        f"test_difference_points_vs_{rival}_interval": [mean - half, mean + half],
        f"optimism_points_{rival}": float(optimism_points.mean()),
        f"evaluations_{rival}": len(found),
    }


def one_split(
    spec: JobSpec, measured: Sequence[Measured], rows: Rows, seed: int, swapped: bool
) -> tuple[float, float, float, str]:
    """Speedup, difference on test and optimism (points) of the chosen plan, and its label."""
    assert rows.labels is not None
    total = len(rows.fit) + len(rows.tune) + len(rows.test)
    order = np.random.default_rng(seed).permutation(total)
    halves = order[300:800], order[800:]
    part = Rows(order[:300], halves[swapped], halves[not swapped], rows.labels)
    choice = Choice(spec, measured, part)
    plan, baseline = choice.chosen or choice.baseline_plan, choice.baseline_plan

    def points(judged: Judged, split: str) -> float:
        labels = rows.labels[getattr(part, split)]
        return 100 * float((choice.replayed_on(judged, split).answer == labels).mean())

    optimism = (points(plan, "tune") - points(plan, "test")) - (
        points(baseline, "tune") - points(baseline, "test")
    )
    difference = points(plan, "test") - points(baseline, "test")
    speedup = _latency(choice, baseline) / _latency(choice, plan)
    return speedup, difference, optimism, plan.label


def _latency(choice: Choice, plan: Judged) -> float:
    return choice.predicted(plan, "test")["latency_mean_ms"]


def _merged(figures: dict[str, Any]) -> dict[str, Any]:
    """The keys that speak of all plans together."""
    errors = [error for rival in RIVALS for error in figures.pop(f"latency_errors_{rival}")]
    mismatches = [m for rival in RIVALS for m in figures.pop(f"answer_mismatches_{rival}")]
    optimism = [figures[f"optimism_points_{rival}"] for rival in RIVALS]
    return {
        **figures,
        "optimism_points": float(np.mean(optimism)),
        "latency_error_median": float(np.median(errors)),
        "latency_error_max": float(np.max(errors)),
        "answer_mismatch": float(np.max(mismatches)),
        "verified_plans": len(errors),
    }


if __name__ == "__main__":
    typer.run(main)
