"""How well is latency predicted for members that were never measured?

The members of both zoos of the data pack (ResNets, EfficientNet-Lites and TFLite networks, float
and w8a8, on onnxruntime and LiteRT, in every way they can run) are measured once on this machine,
into a table. Then each member is left out: 30 measurements drawn from those of the other members
are told to the predictor of the search, which predicts all of the one left out, over ten draws.
`median` and `within_10_percent` are of the relative errors; `after` gives medians after other
numbers of measurements, `with_itself` what they are once one measurement of the member itself (as
it came, on one thread: the search measures that first) is among them. `covered` is the share of
measurements within two predicted standard deviations. `noise` is how much the two best passes of a
candidate differ, `halves_differ` how much the best of every other pass and the best of
the rest do (medians), which no predictor can know. Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.search_efficiency import describe
from benchmarks.search_space import Entry, load_table, tabulate_zoos
from trimtab.search.predictors.cost import CostPredictor
from trimtab.search.predictors.errors import error_of

METRIC = "latency_mean_ms"
DEFAULT_TABLE = Path(tempfile.gettempdir()) / "trimtab-zoos.json"
TOLD, OTHERS = 30, (3, 10, 100)
Doubles = NDArray[np.float64]


class Zoos:
    """The table; each prediction is of one member from measurements of others."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._about = [describe(entry) for entry in entries]
        self._times = np.array([entry.latency_ms for entry in entries])
        self._first = np.array([entry.baseline for entry in entries])
        self._member = np.array([entry.candidate.member for entry in entries])

    def errors(self, told: int, seeds: int, itself: bool = False) -> tuple[Doubles, Doubles]:
        """Relative errors, and errors in predicted standard deviations, of all members."""
        errors, scores = [], []
        for member in dict.fromkeys(self._member.tolist()):
            out = self._member == member
            for seed in range(seeds):
                generator = np.random.default_rng(seed)
                seen = generator.permutation(np.flatnonzero(~out))[: told - itself]
                wanted = np.flatnonzero(out)
                if itself:
                    seen = np.append(seen, np.flatnonzero(out & self._first))
                    wanted = np.flatnonzero(out & ~self._first)
                found = CostPredictor(METRIC).predict(
                    [self._about[n] for n in seen],
                    self._times[seen],
                    [self._about[n] for n in wanted],
                )
                errors.append(error_of(METRIC, found.median, self._times[wanted]))
                scores.append((np.log(self._times[wanted]) - found.mean) / found.spread)
        return np.concatenate(errors), np.concatenate(scores)


def main(
    data: DataFolder = DEFAULT_DATA,
    table: Annotated[Path, typer.Option(help="made where it is absent")] = DEFAULT_TABLE,
    seeds: int = 10,
) -> None:
    """Make the table where there is none, leave members out, print the figures."""
    entries = load_table(table, lambda: tabulate_zoos(data))
    zoos = Zoos(entries)
    errors, scores = zoos.errors(TOLD, seeds)
    own, _ = zoos.errors(TOLD, seeds, itself=True)
    passes = [sorted(entry.passes_ms) for entry in entries]
    halves = [(min(e.passes_ms[::2]), min(e.passes_ms[1::2])) for e in entries]
    figures = {
        "members": len({entry.candidate.member for entry in entries}),
        "candidates": len(entries),
        "median": float(np.median(errors)),
        "within_10_percent": float((errors <= 0.1).mean()),
        "after": {n: float(np.median(zoos.errors(n, seeds)[0])) for n in OTHERS},
        "with_itself": {
            "median": float(np.median(own)),
            "within_10_percent": float((own <= 0.1).mean()),
        },
        "covered": float((np.abs(scores) <= 2).mean()),
        "noise": float(np.median([second / first - 1 for first, second, *_ in passes])),
        "halves_differ": float(np.median([max(pair) / min(pair) - 1 for pair in halves])),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    typer.run(main)
