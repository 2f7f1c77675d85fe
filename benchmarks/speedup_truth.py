"""Do the speed-ups that a job shows hold when somebody else measures them?

Whole jobs on the models and photographs of examples/solar_cells, each in a store of its own, on
the machine as it is (which must be quiet) and then beside a neighbour that takes a core in bursts
of 1 to 60 seconds. The truth is measured on the quiet machine: every bundle that any of the jobs
verified runs over the test images, each time in a fresh process, all in turns for `--rounds`
rounds; a plan's true speed-up is the median over rounds of the baseline's time over its own.

    python -m benchmarks.speedup_truth --jobs 5 --rounds 20              # about 90 minutes
    python -m benchmarks.speedup_truth --jobs 2 --rounds 8 --quiet-only  # about 12 minutes

Prints what every job showed beside the truth, and one JSON object as its last line:

    ratio_error_median  the error of a shown speed-up, |shown / true - 1|, over all verified plans
    ratio_error_max  of the quiet jobs (baselines left out), its median and maximum
    unflagged_error_max  the maximum beside the neighbour, of what was not shown as disturbed
    unflagged_share  how much of what was shown beside the neighbour that is
    coverage  share of the 95 % intervals, flagged ones left out, that hold the truth
    chosen_slower_than_baseline  jobs whose chosen plan is slower, in truth or as shown
    same_choice  share of the quiet jobs that chose the commonest structure
    same_choice_all  the same with the jobs beside the neighbour
    minutes  a quiet job took, the median; `minutes_turns` of it bundles took turns, which is what
        verification costs more than before
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trimtab
from benchmarks._neighbour import neighbour as beside_neighbour
from benchmarks._options import DEFAULT_DATA, ROOT, NoData
from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.reports.front import FrontView, PlanRow, front_view
from trimtab.planner.specification.job import JobSpec, load_spec
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import TrimtabError

#: Minutes that a job measures candidates.
_BUDGET = 1.5


@dataclass
class Watch:
    """Prints warnings, and adds up how long bundles took turns."""

    turns_s: float = 0.0
    _since: float | None = None

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        now = time.monotonic()
        if self._since is not None:
            self.turns_s += now - self._since
        self._since = now if name == "turns" and done < total else None

    def note(self, level: str, subject: str, text: str) -> None:
        if level != "info":
            print(f"  {level}: {subject}: {text}", flush=True)


@dataclass(frozen=True)
class Job:
    """What a job showed, how long it took, and its bundles by the keys of plans."""

    quiet: bool
    view: FrontView
    structures: Mapping[str, str]
    minutes: float
    minutes_turns: float
    bundles: Mapping[str, Path]

    @property
    def verified(self) -> list[PlanRow]:
        """The plans whose speed-ups are compared."""
        return [r for r in self.view.rows if r.key in self.bundles and r.key != self.view.baseline]


@dataclass
class Truth:
    """Milliseconds of bundles, by the keys of plans: one a round."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def speedup(self, key: str, baseline: str) -> float:
        """How many times as fast as the baseline a plan is."""
        ratios = np.array(self.times[baseline]) / np.array(self.times[key])
        return float(np.median(ratios))


def main(
    jobs: Annotated[int, typer.Option(min=1, help="whole jobs on the quiet machine")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="runs of every bundle for the truth")] = 20,
    neighbour: Annotated[
        bool,
        typer.Option("--neighbour/--quiet-only", help="as many jobs beside a neighbour too"),
    ] = True,
    minutes: Annotated[float, typer.Option(help="that a job measures candidates")] = _BUDGET,
    folder: Annotated[
        Path | None, typer.Option(help="keep models, stores and bundles here")
    ] = None,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Run the jobs, measure the truth, print the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        home = (folder or Path(scratch)).absolute()
        spec = demo_spec(home / "demo", minutes)
        done = [one_job(spec, home, number, True) for number in range(jobs)]
        if neighbour:
            done += [one_job(spec, home, number, False) for number in range(jobs)]
        truth = measured(done, images_of(spec, home), rounds)
        print(json.dumps(figures(done, truth)))


def demo_spec(folder: Path, minutes: float) -> JobSpec:
    """The demo's job, with its models and photographs built into a folder."""
    example = ROOT / "examples" / "solar_cells" / "build.py"
    subprocess.run([sys.executable, str(example), str(folder)], check=True)
    spec = load_spec(folder / "job.yaml")
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"minutes": minutes})})


def one_job(spec: JobSpec, home: Path, number: int, quiet: bool) -> Job:
    """A whole job in a store of its own."""
    name = f"{'quiet' if quiet else 'neighbour'}-{number}"
    print(f"job {name}", flush=True)
    watch, begun = Watch(), time.monotonic()
    with Store.open(home / "stores" / name / "trimtab.db") as store:
        with nullcontext() if quiet else beside_neighbour(number):
            record = trimtab.plan(spec, store, watch)
        minutes = (time.monotonic() - begun) / 60
        bundles = kept_bundles(store, record, home / "bundles")
        view = front_view(store, record)
        structures = {
            entry.plan.key: content_key(entry.plan.definition["plan"]["structure"])
            for entry in store.list_plans(record.id)
        }
    print(f"  {minutes:.1f} minutes, {watch.turns_s / 60:.1f} of them in turns", flush=True)
    return Job(quiet, view, structures, minutes, watch.turns_s / 60, bundles)


def kept_bundles(store: Store, job: JobRecord, folder: Path) -> dict[str, Path]:
    """Copies of the bundles that were verified, by the keys of plans. Two of one plan give the
    same answers in the same way: the first is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for record in store.list_verifications(job.id):
        if record.state == "ok" and record.bundle_sha256 is not None:
            found[record.plan_key] = folder / f"{record.plan_key}.pyz"
            if not found[record.plan_key].exists():
                content = store.artefacts.path(record.bundle_sha256).read_bytes()
                found[record.plan_key].write_bytes(content)
    return found


def images_of(spec: JobSpec, home: Path) -> Path:
    """A file that lists the test images."""
    workload, splits = load_dataset(spec)
    listing = home / "images.txt"
    paths = [str(workload.items[index].path) for index in splits.test]
    listing.write_text("\n".join(paths), "utf-8")
    return listing


def measured(jobs: Sequence[Job], listing: Path, rounds: int) -> Truth:
    """Every bundle of the jobs, in turns, each time in a fresh process."""
    bundles = {key: path for job in jobs for key, path in job.bundles.items()}
    truth, draw = Truth({key: [] for key in bundles}), np.random.default_rng(0)
    script = Path(__file__).with_name("_bundle_ms.py")
    for number in range(rounds):
        print(f"truth: round {number + 1} of {rounds}, {len(bundles)} bundles", flush=True)
        for key in draw.permutation(list(bundles)):
            done = subprocess.run(
                [sys.executable, str(script), str(bundles[key]), str(listing)],
                env={**os.environ, "PYTHONPATH": str(bundles[key])},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise TrimtabError(f"{bundles[key]}: {done.stderr.strip()}")
            truth.times[key].append(float(done.stdout))
    return truth


def figures(jobs: Sequence[Job], truth: Truth) -> dict[str, Any]:
    """What is shown against what is true."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    unflagged, held, slower = [], [], 0
    for number, job in enumerate(jobs):
        print(f"job {number} ({'quiet' if job.quiet else 'beside the neighbour'})")
        assert job.view.baseline is not None
        for row in job.verified:
            true, shown = truth.speedup(row.key, job.view.baseline), row.speedup
            assert shown is not None
            error = abs(shown.value / true - 1)
            errors[job.quiet].append(error)
            if not (shown.disturbed or job.quiet):
                unflagged.append(error)
            if not shown.disturbed and shown.low is not None and shown.high is not None:
                held.append(shown.low <= true <= shown.high)
            if "chosen" in row.roles:
                slower += min(shown.value, true) < 1
            roles = " ".join(row.roles)
            print(
                f"  {row.label} [{roles}]: {shown.text} {shown.says}, true {true:.2f}x, "
                f"error {error:.1%}"
            )
    quiet = [job for job in jobs if job.quiet]
    beside = len(errors[False])
    return {
        "ratio_error_median": _of(np.median, errors[True]),
        "ratio_error_max": _of(np.max, errors[True]),
        "unflagged_error_max": _of(np.max, unflagged),
        "unflagged_share": len(unflagged) / beside if beside else None,
        "coverage": _of(np.mean, held),
        "intervals": len(held),
        "chosen_slower_than_baseline": slower,
        "same_choice": same_choice(quiet),
        "same_choice_all": same_choice(jobs),
        "minutes": _of(np.median, [job.minutes for job in quiet]),
        "minutes_turns": _of(np.median, [job.minutes_turns for job in quiet]),
        "jobs": len(jobs),
    }


def same_choice(jobs: Sequence[Job]) -> float:
    """The share that chose the commonest structure; thresholds may differ."""
    chosen = [job.structures.get(job.view.chosen or "") for job in jobs]
    return Counter(chosen).most_common(1)[0][1] / len(jobs)


def _of(figure: Any, values: Sequence[float]) -> float | None:
    """None where there are no values."""
    return float(figure(values)) if len(values) else None


if __name__ == "__main__":
    typer.run(main)
