"""Does a job lose or repeat measurements when its device keeps failing?

A small real zoo is planned for over SSH on loopback, once undisturbed and then with a fault every
two to six seconds: the connection is cut, the probe is killed, or it is stopped (SIGSTOP). The
device answers from what it measured the first time, so that fronts can be compared bit by bit.
Prints one JSON object as its last line, and what went wrong before it:

    python -m benchmarks.device_faults --faults 40

`measurements_lost`: evidence that the undisturbed job has and a disturbed one has not.
`measurements_repeated`: probes that were finished on the device and asked again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer

from benchmarks._options import DEFAULT_DATA, SUPPORT, NoData


def main(faults: int = 40, seed: int = 0, _data: NoData = DEFAULT_DATA) -> None:
    """Disturb jobs, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures, problems = run(Path(folder), faults, seed)
    for problem in problems:
        print(problem)
    print(json.dumps(figures))
    raise typer.Exit(1 if problems else 0)


def run(folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong in words."""
    sys.path.insert(0, str(SUPPORT))
    from disturbing import Disturbing

    disturbing = Disturbing(folder, seed)
    try:
        tally = disturbing.go_on(faults)
    finally:
        disturbing.close()
    figures = {
        "faults": tally.faults,
        "measurements_lost": tally.lost,
        "measurements_repeated": tally.repeated,
        "front_equal_to_undisturbed": int(tally.unequal == 0),
        "by_kind": dict(tally.by_kind),
        "jobs": tally.jobs,
    }
    return figures, tally.problems


if __name__ == "__main__":
    typer.run(main)
