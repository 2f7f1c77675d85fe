"""Does anything hostile or broken end a job, hang it, fill the memory or pass for sound?

Eight families of cases: models, archives, images, specifications, devices, web, pages, signals;
some are written by hand, the rest is drawn from a seed. Each case runs in a process of its own
with a limit of time. It is `refused` (an error of Trimtab's that says why), `survived` (what had
to go on went on), or else a `traceback`, `harmed` (a file overwritten, a wrong answer in silence),
`ended` (it died, hung, or a job ended that should go on) or `mistaken` (refused by another rule
than the one that it breaks, or not at all: each case says what must become of it). Prints a
line for a case that is neither of the first two (all with `--all`), and one JSON object as its
last line:

    cases                 how many ran, also by family
    refused_or_survived   share of the cases
    tracebacks            cases that ended in an error that is none of Trimtab's
    mistaken, harmed      cases that ended so
    jobs_ended            cases that died, hung, or ended a job that should go on
    peak_gb               largest resident memory of a case's process or of a command it ran
    longest_silence_s     longest time that such a process said nothing, of all cases
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from benchmarks._options import DEFAULT_DATA, NoData
from benchmarks.hostile.cases import Case
from benchmarks.hostile.families import FAMILIES, cases_of
from benchmarks.hostile.running import FINE, Result, run_case


def main(
    family: Annotated[list[str] | None, typer.Option(help="only this; may be repeated")] = None,
    only: Annotated[str, typer.Option(help="cases whose name holds this")] = "",
    share: Annotated[float, typer.Option(help="of the cases, evenly spread")] = 1.0,
    at_once: Annotated[int, typer.Option(help="cases that run at the same time")] = 2,
    seed: int = 0,
    show_all: Annotated[bool, typer.Option("--all", help="a line for every case")] = False,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Run the cases, and print what became of them."""
    asked: list[tuple[str, Case]] = []
    for name in family or list(FAMILIES):
        found = [case for case in cases_of(name, seed) if only in case.name]
        count = max(1, round(share * len(found)))
        asked += [(name, found[i * len(found) // count]) for i in range(min(count, len(found)))]

    def run(one: tuple[str, Case]) -> Result:
        result = run_case(*one, seed)
        if show_all or result.outcome not in FINE:
            print(result.text(), flush=True)
        return result

    with ThreadPoolExecutor(at_once) as workers:
        results = list(workers.map(run, asked))
    figures = {
        "cases": len(results),
        "families": {
            name: sum(result.family == name for result in results)
            for name in dict.fromkeys(result.family for result in results)
        },
        "refused_or_survived": sum(r.outcome in FINE for r in results) / max(1, len(results)),
        "tracebacks": sum(result.outcome == "traceback" for result in results),
        "mistaken": sum(result.outcome == "mistaken" for result in results),
        "harmed": sum(result.outcome == "harmed" for result in results),
        "jobs_ended": sum(result.outcome == "ended" for result in results),
        "peak_gb": max((result.peak_gb for result in results), default=0.0),
        "longest_silence_s": max((result.silence_s for result in results), default=0.0),
    }
    print(json.dumps(figures))
    raise typer.Exit(1 if figures["refused_or_survived"] < 1 else 0)
