"""How many measurements does the outer search need?

The space of `search_space.py` (736 candidates of seven CIFAR members) is measured whole, once,
into a table; then searches of it are replayed, each from a cold start. The search of jobs
(CandidateStudy with its Advisor) has its own first waves: the members in every way with all graph
optimisations, their w8a8 variants on one thread. Optuna's samplers start with the members as they
came, in one way each; `NAME_same_start` with the search's own first waves instead, which tells
the worth of the predictors from that of the start. All of it counts as measurements.
`hypervolume_at_5_percent` and `_10_percent` are shares of the whole space's hypervolume of top-1
and latency, above the worst member in each; `measurements_to_99_percent` is the share of the space
that was measured when 99 % was reached, null where a search was given up before. Medians over
seeds. Making the table takes some six minutes on two idle cores, the searches some
ten, most of it in Optuna's GP sampler. Prints one JSON object as its last line.
"""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import optuna
import typer

from benchmarks.search_space import CUT, PRUNED, Entry, load_table, tabulate
from benchmarks.zoo import DEFAULT_DATA
from trimtab.planner.candidates.space import wave_of
from trimtab.search.candidates.acquisition import Advisor
from trimtab.search.candidates.candidate import Candidate
from trimtab.search.candidates.study import CandidateStudy
from trimtab.search.objectives.pareto import non_dominated
from trimtab.search.predictors.description import Description, Work, amount_of

METRICS = ("top1", "latency_mean_ms")
DEFAULT_TABLE = Path(tempfile.gettempdir()) / "trimtab-search-space.json"
SHARES = (0.05, 0.10)
GOAL = 0.99


class Space:
    """The table as the searches see it."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        ordered = sorted(entries, key=lambda entry: not entry.baseline)
        self.candidates = [entry.candidate for entry in ordered]
        self.baselines = sum(entry.baseline for entry in ordered)
        self._entries = {entry.candidate.key: entry for entry in ordered}
        self._about = {entry.candidate.key: describe(entry) for entry in ordered}
        self.waves = {c.key: wave_of(c, ["w8a8"], 1) for c in self.candidates}
        first = np.array([self.values(c) for c in self.candidates[: self.baselines]])
        self._reference = np.array([first[:, 0].min(), first[:, 1].max()])
        self._whole = self._volume([self.values(c) for c in self.candidates])

    def values(self, candidate: Candidate) -> tuple[float, float]:
        """Top-1 and latency (ms)."""
        entry = self._entries[candidate.key]
        assert entry.top1 is not None
        return entry.top1, entry.latency_ms

    def describe(self, key: str) -> Description:
        return self._about[key]

    def _volume(self, values: Sequence[tuple[float, float]]) -> float:
        """Area that points dominate above the reference."""
        gains = np.array(values) - self._reference
        costs = np.column_stack([-gains[:, 0], gains[:, 1]])
        costs = costs[(costs < 0).all(axis=1)]
        front = costs[non_dominated(costs)]
        front = front[np.argsort(front[:, 0])]
        widths = np.diff(np.append(front[:, 0], 0.0))
        return float((widths * -front[:, 1]).sum())

    def shares(self, order: Sequence[Candidate]) -> list[float]:
        """The share of the whole hypervolume after each measurement."""
        values = [self.values(candidate) for candidate in order]
        return [self._volume(values[: n + 1]) / self._whole for n in range(len(values))]


def describe(entry: Entry) -> Description:
    """What is known of a candidate before it is built: its float network's operators."""
    found = entry.candidate
    return Description(found.member, _steps(found), found.options, Work(entry.work), entry.pixels)


def predicted(space: Space, seed: int) -> Iterator[Candidate]:
    """The product's search, its first waves included."""
    waves = space.waves
    ordered = sorted(space.candidates, key=lambda candidate: waves[candidate.key])
    baselines, enqueued = (sum(w <= last for w in waves.values()) for last in (0, 1))
    study = CandidateStudy(
        "predicted",
        ordered,
        baselines,
        enqueued,
        ["maximize", "minimize"],
        seed=seed,
        advisor=Advisor(METRICS, space.describe, seed=seed),
    )
    while (proposal := study.next()) is not None:
        yield proposal.candidate
        study.report(proposal, space.values(proposal.candidate))


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
}
#: Shares of the space after which a search is given up: the GP sampler takes seconds a trial.
GIVEN_UP = {"gp": 0.101, "tpe": 0.5}
SAME_START = "_same_start"
NAMES = ["predicted", *SAMPLERS, *(name + SAME_START for name in SAMPLERS)]
_REPEATS = 2  # proposals of known candidates before an unknown one is drawn at random


def plain(name: str, space: Space, seed: int) -> Iterator[Candidate]:
    """A sampler of Optuna's over what candidates differ in, as a number where it is one. What it
    proposes twice is answered from memory, as the product does."""
    sampler = SAMPLERS[name.removesuffix(SAME_START)](seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    generator = np.random.default_rng(seed)
    unknown = {_parameters(candidate): candidate for candidate in space.candidates}
    members = sorted({candidate.member for candidate in space.candidates})
    known: dict[_Parameters, tuple[float, float]] = {}
    first = space.candidates[: space.baselines]
    if name.endswith(SAME_START):
        first = [c for c in space.candidates if space.waves[c.key] <= 1]
    waiting = [_parameters(candidate) for candidate in first]
    repeats = 0
    while unknown:
        if repeats == _REPEATS:
            waiting.append(list(unknown)[int(generator.integers(len(unknown)))])
        if waiting:
            study.enqueue_trial(waiting.pop(0)._asdict())
        trial = study.ask()
        chosen = _suggested(trial, members)
        repeats = repeats + 1 if chosen in known else 0
        if chosen in unknown:
            candidate = unknown.pop(chosen)
            known[chosen] = space.values(candidate)
            yield candidate
        study.tell(trial, known[chosen])


class _Parameters(NamedTuple):
    """What candidates differ in; `pruned` and `cut` are positions in `PRUNED` and `CUT`. Of TFLite
    members `plain` says that they run without XNNPACK."""

    member: str
    pruned: int
    cut: int
    w8a8: bool
    threads: int
    spinning: bool
    plain: bool


def _parameters(candidate: Candidate) -> _Parameters:
    steps, options = dict(map(amount_of, _steps(candidate))), candidate.options
    return _Parameters(
        candidate.member,
        PRUNED.index(steps.get("prune", 0.0)),
        CUT.index(steps.get("cut", 0.0)),
        "w8a8" in steps,
        options.threads,
        options.spinning,
        options.provider == "builtin" or options.graph_optimisation == "extended",
    )


def _suggested(trial: optuna.Trial, members: Sequence[str]) -> _Parameters:
    """Of a TFLite member, what does not apply is passed over; so is spinning on one thread. (GP
    wants the same parameters in every trial.)"""
    found = _Parameters(
        trial.suggest_categorical("member", members),
        trial.suggest_int("pruned", 0, len(PRUNED) - 1),
        trial.suggest_int("cut", 0, len(CUT) - 1),
        trial.suggest_categorical("w8a8", [False, True]),
        trial.suggest_int("threads", 1, 2),
        trial.suggest_categorical("spinning", [False, True]),
        trial.suggest_categorical("plain", [False, True]),
    )
    found = found._replace(spinning=found.spinning and found.threads > 1)
    if found.member.startswith("pretrained"):
        found = found._replace(pruned=0, cut=0, w8a8=False, spinning=False)
    return found


def _steps(candidate: Candidate) -> tuple[str, ...]:
    return candidate.form.steps


def replayed(name: str, space: Space, seed: int) -> list[float]:
    """Shares of the hypervolume after each measurement of a search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    given_up = GIVEN_UP.get(name.removesuffix(SAME_START), 1.0)
    most = math.ceil(given_up * len(space.candidates))
    searched = predicted(space, seed) if name == "predicted" else plain(name, space, seed)
    least = math.ceil(max(SHARES) * len(space.candidates))
    order = list(itertools.islice(searched, least))
    while len(order) < most and space.shares(order)[-1] < GOAL:
        order += itertools.islice(searched, 16)
    return space.shares(order)


def figures(runs: Sequence[Sequence[float]], size: int) -> dict[str, float | None]:
    """The keys of one sampler: medians over its runs; None for what was never reached."""
    found: dict[str, float | None] = {}
    for share in SHARES:
        at = [run[math.floor(share * size) - 1] for run in runs]
        found[f"hypervolume_at_{round(100 * share)}_percent"] = float(np.median(at))
    reached = [next((n + 1 for n, v in enumerate(run) if v >= GOAL), None) for run in runs]
    middle = float(np.median([math.inf if n is None else n / size for n in reached]))
    found["measurements_to_99_percent"] = middle if math.isfinite(middle) else None
    return found


def main(
    data: Annotated[Path, typer.Option(envvar="TRIMTAB_DATA")] = DEFAULT_DATA,
    table: Annotated[Path, typer.Option(help="made where it is absent")] = DEFAULT_TABLE,
    seeds: int = 10,
    search: Annotated[list[str], typer.Option(help="which searches, once each")] = NAMES,
) -> None:
    """Make the table where there is none, search it, print the figures."""
    names = search
    if not set(names) <= set(NAMES):
        raise typer.BadParameter(f"--search must be one of {', '.join(NAMES)}")
    space = Space(load_table(table, lambda: tabulate(data)))
    told: dict[str, Any] = {"candidates": len(space.candidates), "baselines": space.baselines}
    os.environ["OMP_NUM_THREADS"] = "1"  # searches run side by side, one a core
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [(n, seed) for n in names for seed in range(seeds)]
        futures = [pool.submit(replayed, name, space, seed) for name, seed in jobs]
        for name in names:
            runs = [f.result() for f, (n, _) in zip(futures, jobs, strict=True) if n == name]
            found = figures(runs, len(space.candidates))
            print(name, found, flush=True)
            told |= found if name == "predicted" else {name: found}
    print(json.dumps(told))


if __name__ == "__main__":
    typer.run(main)
