"""Do the speed-ups that a job shows hold when somebody else measures them?

Whole jobs on the models and photographs of examples/solar_cells, each in a store of its own, on
the machine as it is (which must be quiet) and then beside a neighbour that takes a core in bursts
of 1 to 60 seconds; with `--imagenet` one quiet job too on TFLite models and photographs of the
data pack, of which the baseline and about three plans are verified. The truth is measured on the
quiet machine: every bundle that any of the jobs verified runs over the test images, each time in a
fresh process, all in turns for `--rounds` rounds; a plan's true speed-up is the median over rounds
of the baseline's time over its own.

    python -m benchmarks.speedup_truth --jobs 5 --rounds 20              # about 90 minutes
    python -m benchmarks.speedup_truth --jobs 2 --rounds 8 --quiet-only  # about 12 minutes
    ... --imagenet                                                       # about 8 minutes more

What is done lies in `--folder`: the same call goes on where it was killed. After each job it says
how many minutes are left. Prints what every job showed beside the truth, and one JSON object as
its last line:

    ratio_error_median  the error of a shown speed-up, |shown / true - 1|, over all verified plans
    ratio_error_max  of the quiet jobs (baselines left out), its median and maximum
    unflagged_error_max  the maximum beside the neighbour, of what was not shown as disturbed
    unflagged_share  how much of what was shown beside the neighbour that is
    coverage  share of the 95 % intervals, flagged ones left out, that hold the truth
    one_run_coverage  share of single rounds of the truth that they hold: what one user sees
    interval_median  how wide they are, relative to the value: from end to end
    chosen_slower_than_baseline  jobs whose chosen plan is slower, in truth or as shown
    same_choice  share of the quiet jobs that chose the commonest structure
    same_choice_all  the same with the jobs beside the neighbour
    minutes  a quiet job took, the median; `minutes_turns` of it bundles took turns, which is what
        verification costs more than before
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trimtab
from benchmarks._neighbour import neighbour as beside_neighbour
from benchmarks._options import DEFAULT_DATA, ROOT, DataFolder
from benchmarks._truth import Truth, measured
from benchmarks.zoo import imagenet_job, tflite_members
from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.reports.front import FrontView, PlanRow, front_view
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.specification.job import JobSpec, load_spec
from trimtab_runtime.codec import content_key

#: Minutes that a job measures candidates.
_BUDGET = 1.5
#: Seconds that a bundle takes to start.
_START_S = 3.0


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

    name: str
    quiet: bool
    view: FrontView
    structures: Mapping[str, str]
    minutes: float
    minutes_turns: float
    bundles: Mapping[str, Path]
    images: Path

    @property
    def verified(self) -> list[PlanRow]:
        """The plans whose speed-ups are compared."""
        return [r for r in self.view.rows if r.key in self.bundles and r.key != self.view.baseline]


def main(
    jobs: Annotated[int, typer.Option(min=1, help="whole jobs on the quiet machine")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="runs of every bundle for the truth")] = 20,
    neighbour: Annotated[
        bool,
        typer.Option("--neighbour/--quiet-only", help="as many jobs beside a neighbour too"),
    ] = True,
    imagenet: Annotated[
        bool, typer.Option("--imagenet/--demo-only", help="a job on the data pack as well")
    ] = False,
    minutes: Annotated[float, typer.Option(help="that a job measures candidates")] = _BUDGET,
    folder: Annotated[
        Path | None, typer.Option(help="keep models, stores, bundles and the truth here")
    ] = None,
    data: DataFolder = DEFAULT_DATA,
) -> None:
    """Run the jobs, measure the truth, print the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        home = (folder or Path(scratch)).absolute()
        demo = demo_spec(home / "demo", minutes)
        wanted = [Wanted(f"quiet-{number}", demo) for number in range(jobs)]
        if imagenet:
            wanted.append(Wanted("imagenet", imagenet_spec(data, home, minutes)))
        if neighbour:
            wanted += [Wanted(f"neighbour-{number}", demo, number) for number in range(jobs)]
        done: list[Job] = []
        for number, each in enumerate(wanted):
            done.append(one_job(each, home))
            left = remaining_minutes(done, len(wanted) - number - 1, rounds)
            print(f"  about {left:.0f} minutes are left", flush=True)
        bundles = {key: (path, job.images) for job in done for key, path in job.bundles.items()}
        truth = measured(bundles, home / "truth.json", rounds)
        print(json.dumps(figures(done, truth)))


def demo_spec(folder: Path, minutes: float) -> JobSpec:
    """The demo's job, with its models and photographs built into a folder."""
    example = ROOT / "examples" / "solar_cells" / "build.py"
    subprocess.run([sys.executable, str(example), str(folder)], check=True)
    spec = load_spec(folder / "job.yaml")
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"minutes": minutes})})


def imagenet_spec(data: Path, home: Path, minutes: float) -> JobSpec:
    """TFLite members and photographs of the data pack, as zoo_imagenet has them, but fewer."""
    found = imagenet_job(data, home / "classes.txt", verify=3)
    splits = {"fit": 100, "tune": 300, "test": 200, "seed": 0}
    changes = {
        "models": tflite_members(data),
        "workload": {**found["workload"], "splits": splits},
        "techniques": {"quantisation": []},
        "budget": {"minutes": minutes},
    }
    return load_spec({**found, **changes})


@dataclass(frozen=True)
class Wanted:
    """A job, and the seed of its `neighbour` (None: quiet)."""

    name: str
    spec: JobSpec
    neighbour: int | None = None


def one_job(wanted: Wanted, home: Path) -> Job:
    """A whole job in a store of its own; how long it took is kept beside that."""
    name, folder = wanted.name, home / "stores" / wanted.name
    print(f"job {name}", flush=True)
    watch, begun, took = Watch(), time.monotonic(), folder / "minutes.json"
    quiet = wanted.neighbour is None
    with Store.open(folder / "trimtab.db") as store:
        with nullcontext() if wanted.neighbour is None else beside_neighbour(wanted.neighbour):
            record = trimtab.plan(wanted.spec, store, watch)
        if not took.exists():
            told = [(time.monotonic() - begun) / 60, watch.turns_s / 60]
            took.write_text(json.dumps(told), "utf-8")
        minutes, turns = json.loads(took.read_text("utf-8"))
        bundles = kept_bundles(store, record, home / "bundles")
        view = front_view(store, record)
        structures = {
            entry.plan.key: content_key(entry.plan.definition["plan"]["structure"])
            for entry in store.list_plans(record.id)
        }
    print(f"  {minutes:.1f} minutes, {turns:.1f} of them in turns", flush=True)
    listing = images_of(wanted.spec, folder)
    return Job(name, quiet, view, structures, minutes, turns, bundles, listing)


def remaining_minutes(done: Sequence[Job], jobs: int, rounds: int) -> float:
    """Of so many more jobs, and of the truth of those that are done."""
    bundles = {key: job for job in done for key in job.bundles}
    truth_s = 0.0
    for key, job in bundles.items():
        row = job.view.row(key)
        latency_ms = row.figure(LATENCY).shown if row is not None else None
        images = len(job.images.read_text("utf-8").splitlines())
        truth_s += _START_S + images * (latency_ms or 0.0) / 1e3
    return jobs * float(np.mean([job.minutes for job in done])) + rounds * truth_s / 60


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


def images_of(spec: JobSpec, folder: Path) -> Path:
    """A file that lists the test images."""
    workload, splits = load_dataset(spec)
    listing = folder / "images.txt"
    paths = [str(workload.items[index].path) for index in splits.test]
    listing.write_text("\n".join(paths), "utf-8")
    return listing


def figures(jobs: Sequence[Job], truth: Truth) -> dict[str, Any]:
    """What is shown against what is true."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    unflagged, held, slower = [], [], 0
    one_run: list[bool] = []
    widths: list[float] = []
    for job in jobs:
        print(f"job {job.name}")
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
                runs = truth.runs(row.key, job.view.baseline)
                one_run += [shown.low <= run <= shown.high for run in runs]
                widths.append((shown.high - shown.low) / shown.value)
            if "chosen" in row.roles:
                slower += min(shown.value, true) < 1
            roles = " ".join(row.roles)
            print(
                f"  {row.label} [{roles}]: {shown.text} {shown.says}, true {true:.2f}x, "
                f"error {error:.1%}"
            )
    jobs = [job for job in jobs if job.name != "imagenet"]
    quiet = [job for job in jobs if job.quiet]
    beside = len(errors[False])
    return {
        "ratio_error_median": _of(np.median, errors[True]),
        "ratio_error_max": _of(np.max, errors[True]),
        "unflagged_error_max": _of(np.max, unflagged),
        "unflagged_share": len(unflagged) / beside if beside else None,
        "coverage": _of(np.mean, held),
        "one_run_coverage": _of(np.mean, one_run),
        "interval_median": _of(np.median, widths),
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
