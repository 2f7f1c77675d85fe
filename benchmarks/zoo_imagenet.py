"""How fast is the plan that is not worse than EfficientNet-Lite2 (and 1)?

Every member and its w8a8 variant is measured and traced once on this machine, one thread. For
each of many random splits, and again with tune and test swapped, groups of stages are screened and
the plan is chosen on `tune` alone, among those of its groups that were measured together (the
`GROUPS` that most splits asked for), and replayed on `test`. The split of seed 0 is a whole job,
with exported bundles verified. Prints one JSON object as its last line; for lite2 and lite1 each,
`speedup_vs_...` is the median over splits, `verified_speedup_vs_...` that of the bundles of
seed 0, `test_difference_points_vs_...` the mean difference of top-1 on `test`, with its 95 %
`..._interval`. `latency_error_median` and `latency_error_max` (of the means on test, measured in
turns), `memory_error_max` are of what bundles measured against what was predicted; for these alone
`--splits 0` does.

    python -m benchmarks.zoo_imagenet                           # about an hour
    python -m benchmarks.zoo_imagenet --splits 0 --store RUN_1  # the two jobs alone

With `--store` the same call goes on where it was killed.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trimtab
from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.zoo import imagenet_job
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.jobs.dataset import SplitRows
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.selector import PlanSelector
from trimtab.planner.specification.job import JobSpec
from trimtab.search.costs.cascade import CascadeCosts

RIVALS = ("lite2", "lite1")
#: Groups of stages that are measured together for all splits.
GROUPS = 30

Case = tuple[str, int, bool]
Group = tuple[int, ...]


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
    data: DataFolder = DEFAULT_DATA,
    store: Annotated[Path | None, typer.Option(help="keep the store here")] = None,
    splits: Annotated[int, typer.Option(min=0, help="0: the verified jobs alone")] = 50,
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
    if not splits:
        return _merged(figures)
    with opened_run(specs["lite2"], store) as job:
        measured = job.measure(job.members())
        cases = Cases(specs, measured, job.evaluator.rows, splits)
        groups = cases.screened()
        wanted = Counter(group for screened in groups.values() for group in screened)
        most = [group for group, _ in wanted.most_common(GROUPS)]
        together = PlanningStage(job.evaluator, measured).measured_together(most)
    for rival in RIVALS:
        figures |= cases.figures(rival, groups, together)
    return _merged(figures)


def verified(store: trimtab.Store, job_id: str, rival: str) -> dict[str, Any]:
    """What the exported bundles of the frozen split measured, against what was predicted."""
    job = store.get_job(job_id)
    assert job is not None
    plans = {entry.plan.key: entry for entry in store.list_plans(job_id)}
    errors, memory_errors, mismatches, latency = [], [], [], {}
    for found in store.list_verifications(job_id):
        entry = plans.get(found.plan_key)
        if entry is None or found.state != "ok":
            continue
        predicted = entry.value("latency_mean_ms", "test", "predicted")
        assert predicted is not None
        latency[found.plan_key] = found.values["latency_mean_ms"]
        errors.append(abs(predicted / latency[found.plan_key] - 1))
        mismatches.append(found.values["answer_mismatch"])
        predicted_mb = entry.value("peak_memory_mb", "test", "predicted")
        peak_mb = found.values["peak_memory_mb"]
        assert predicted_mb is not None
        memory_errors.append(abs(predicted_mb / peak_mb - 1))
        print(
            f"verified {entry.plan.label}: predicted {predicted:.2f} ms {predicted_mb:.0f} MB, "
            f"measured {latency[found.plan_key]:.2f} ms {peak_mb:.0f} MB, "
            f"drift {found.values['drift']:.2f}"
        )
    for learned in store.list_corrections(job_id=job_id):
        print(
            f"correction of {learned.metric}: {learned.plans} plans, error "
            f"{learned.error_before:.3f}, held out {learned.error_held_out:.3f}"
        )
    chosen, baseline = job.summary["chosen"], job.summary["baseline"]
    return {
        f"verified_speedup_vs_{rival}": latency[baseline] / latency[chosen],
        f"chosen_vs_{rival}": plans[chosen].plan.label,
        f"latency_errors_{rival}": errors,
        f"memory_errors_{rival}": memory_errors,
        f"answer_mismatches_{rival}": mismatches,
    }


@dataclass(frozen=True)
class Cases:
    """Random splits, each also with tune and test swapped, for each rival."""

    specs: Mapping[str, JobSpec]
    measured: Sequence[Measured]
    rows: SplitRows
    splits: int

    def screened(self) -> dict[Case, list[Group]]:
        """What each case would measure together."""
        cases = list(itertools.product(RIVALS, range(self.splits), (False, True)))
        with _pool() as pool:
            found = []
            for case, groups in zip(cases, pool.map(self._screen, cases), strict=True):
                found.append((case, groups))
                print(f"screened {case}: {len(groups)} groups", flush=True)
        return dict(found)

    def figures(
        self,
        rival: str,
        groups: Mapping[Case, Sequence[Group]],
        together: Mapping[Group, CascadeCosts],
    ) -> dict[str, Any]:
        """Speed, difference on test and optimism of what is chosen on tune."""
        cases = [case for case in groups if case[0] == rival]
        known = [{g: together[g] for g in groups[case] if g in together} for case in cases]
        found = []
        with _pool() as pool:
            for *values, label in pool.map(self._evaluate, cases, known):
                found.append(values)
                print(f"{rival}: {values[0]:.2f}x, {values[1]:+.1f} points, {label}", flush=True)
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

    def _selector(self, case: Case) -> PlanSelector:
        rival, seed, swapped = case
        rows = self.rows
        total = len(rows.fit) + len(rows.tune) + len(rows.test)
        order = np.random.default_rng(seed).permutation(total)
        halves = order[300:800], order[800:]
        part = SplitRows(
            order[:300], halves[swapped], halves[not swapped], rows.labels, rows.classes
        )
        return PlanSelector(SelectionData.of(self.specs[rival], self.measured, part))

    def _screen(self, case: Case) -> list[Group]:
        return self._selector(case).screen(self.specs[case[0]].together).groups

    def _evaluate(
        self, case: Case, together: Mapping[Group, CascadeCosts]
    ) -> tuple[float, float, float, str]:
        """Speedup, difference on test and optimism (points) of the chosen plan, and its label."""
        selector = self._selector(case)
        selection = selector.select(together)
        plan, baseline = selection.chosen or selection.baseline, selection.baseline
        evaluator, rows = selector.evaluator, selector.data.rows
        labels = self.rows.labels
        assert labels is not None

        def points(judged: PlanCandidate, split: str) -> float:
            wanted = labels[getattr(rows, split)]
            return 100 * float((evaluator.replayed_on(judged, split).answer == wanted).mean())

        def latency(judged: PlanCandidate) -> float:
            found = evaluator.replayed(judged, rows.test)
            return evaluator.predicted(judged, found)["latency_mean_ms"]

        optimism = (points(plan, "tune") - points(plan, "test")) - (
            points(baseline, "tune") - points(baseline, "test")
        )
        difference = points(plan, "test") - points(baseline, "test")
        return latency(baseline) / latency(plan), difference, optimism, plan.label


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))


def _merged(figures: dict[str, Any]) -> dict[str, Any]:
    """The keys that speak of all plans together."""
    errors = [error for rival in RIVALS for error in figures.pop(f"latency_errors_{rival}")]
    memory = [error for rival in RIVALS for error in figures.pop(f"memory_errors_{rival}")]
    mismatches = [m for rival in RIVALS for m in figures.pop(f"answer_mismatches_{rival}")]
    optimism = [figures.get(f"optimism_points_{rival}") for rival in RIVALS]
    known = [points for points in optimism if points is not None]
    return {
        **figures,
        "optimism_points": float(np.mean(known)) if known else None,
        "latency_error_median": float(np.median(errors)),
        "latency_error_max": float(np.max(errors)),
        "memory_error_median": float(np.median(memory)),
        "memory_error_max": float(np.max(memory)),
        "answer_mismatch": float(np.max(mismatches)),
        "verified_plans": len(errors),
    }


if __name__ == "__main__":
    typer.run(main)
