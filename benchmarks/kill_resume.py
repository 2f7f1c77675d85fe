"""Does a job that is killed at any moment lose anything, or measure anything twice?

A small real zoo is measured once on this machine and recorded. Jobs that replay the recording are
killed (SIGKILL) at random moments and run again until they are done, each in a store of its own;
everything that was committed must still be there, and the front must be that of a job that nobody
disturbed. Prints one JSON object as its last line, and what went wrong before it:

    python -m benchmarks.kill_resume --kills 100

`measurements_lost`: what was committed and is not there any more. `measurements_repeated`: what
was made again although it was there. `front_equal` is 1 where every front was the undisturbed one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer

from benchmarks._options import DEFAULT_DATA, SUPPORT, NoData


def main(kills: int = 100, seed: int = 0, _data: NoData = DEFAULT_DATA) -> None:
    """Kill jobs, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures, problems = run(Path(folder), kills, seed)
    for problem in problems:
        print(problem)
    print(json.dumps(figures))
    raise typer.Exit(1 if problems else 0)


def run(folder: Path, kills: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong in words."""
    sys.path.insert(0, str(SUPPORT))
    from killing import Killing

    tally = Killing(folder, seed).go_on(kills)
    figures = {
        "kills": tally.kills,
        "jobs": tally.jobs,
        "measurements_lost": tally.lost,
        "measurements_repeated": tally.repeated,
        "front_equal": int(tally.unequal == 0),
        "problems": len(tally.problems),
    }
    return figures, tally.problems


if __name__ == "__main__":
    typer.run(main)
