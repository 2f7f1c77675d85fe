"""Runs what the figures of the documentation rest on, and writes down where they were measured.

    make figures                                     # all of them, one after the other: hours
    python -m benchmarks.figures --only replay_speed --only runtime_overhead

Which those are is read from `docs/results.md`: every `python -m benchmarks.NAME` in it. Nothing
else should run on the machine meanwhile. Each figure is written to the file as soon as it is
known, with the machine, its instruction set, the versions of what computes, the commit and the
time; those of an earlier run that are not measured again stay. Prints one JSON object as its last
line: which are `done` and which `failed`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks._options import DEFAULT_DATA, ROOT, DataFolder
from trimtab_runtime.fingerprint import fingerprint

RESULTS = ROOT / "docs" / "results.md"
FIGURES = ROOT / "docs" / "figures.json"
_NAMED = re.compile(r"python -m benchmarks\.(\w+)")


def named(page: Path = RESULTS) -> list[str]:
    """Benchmarks that a page names, in its order."""
    return list(dict.fromkeys(_NAMED.findall(page.read_text(encoding="utf-8"))))


def commit() -> str:
    """The commit that is checked out, with a + where files differ from it; '' outside git."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() if told.returncode == 0 else ""


def measure(name: str, data: Path) -> dict[str, Any] | None:
    """What a benchmark prints as its last line; None where it failed, after showing why."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    if done.returncode or not isinstance(found, dict):
        print(f"{name} failed (exit status {done.returncode}):", *lines[-5:], sep="\n  ")
        return None
    return found


def main(
    data: DataFolder = DEFAULT_DATA,
    only: Annotated[list[str] | None, typer.Option(help="benchmarks; by default all")] = None,
    output: Annotated[Path, typer.Option(help="the file of figures")] = FIGURES,
) -> None:
    """Run them and keep their figures."""
    names = named()
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} not in {RESULTS.name}: {', '.join(names)}")
    kept = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    done, failed = [], []
    for name in [name for name in names if not only or name in only]:
        print(f"{name}: begins {datetime.now(UTC):%H:%M} UTC", flush=True)
        began = datetime.now(UTC)
        found = measure(name, data)
        (failed if found is None else done).append(name)
        if found is None:
            continue
        kept[name] = {
            "command": f"python -m benchmarks.{name}",
            "figures": found,
            "at": began.isoformat(timespec="seconds"),
            "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
            "commit": commit(),
            "machine": fingerprint(),
        }
        text = json.dumps(kept, indent=2, ensure_ascii=False, sort_keys=True)
        output.write_text(text + "\n", encoding="utf-8")
    print(json.dumps({"done": done, "failed": failed}))
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
