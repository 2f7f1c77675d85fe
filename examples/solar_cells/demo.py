"""The whole of Trimtab on real models and photographs, in about eight minutes on two cores.

    python examples/solar_cells/demo.py [FOLDER]

Builds a zoo (build.py), then runs the commands that a user would: plan, front, show, export, and
the exported file itself.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from build import build
from rich.console import Console
from rich.progress import Progress

import trimtab

CONSOLE = Console()


def main() -> int:
    """Run the demo; the exit status of the first command that fails."""
    folder = Path(*sys.argv[1:2] or ["demo-output/solar_cells"]).absolute()
    began = time.monotonic()
    with Progress(console=CONSOLE) as bars:
        tasks = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        job = build(folder, progress)
    CONSOLE.print(f"zoo and photographs are in {folder} ({time.monotonic() - began:.0f} s)\n")
    store = folder / "trimtab-store" / "trimtab.db"
    run("trimtab", "--store", store, "plan", job)
    run("trimtab", "--store", store, "front", "--plot", folder / "front.png")
    plan = chosen_plan(store)[:12]
    run("trimtab", "--store", store, "show", plan)
    bundle = folder / "plan.pyz"
    run("trimtab", "--store", store, "export", plan, "-o", bundle)
    run(sys.executable, bundle, "selftest")
    cells = [
        path
        for kind in ("defective", "functional")
        for path in sorted((folder / "photographs" / kind).iterdir())[:3]
    ]
    run(sys.executable, bundle, "classify", *cells)
    CONSOLE.print(f"\nall of it took {(time.monotonic() - began) / 60:.1f} minutes")
    CONSOLE.print(f"picture of the front: {folder / 'front.png'}; the plan to ship: {bundle}")
    return 0


def chosen_plan(store: Path) -> str:
    """The key of the plan that the newest job chose."""
    with trimtab.Store.open(store, read_only=True) as opened:
        return str(opened.list_jobs(limit=1)[0].summary["chosen"])


def run(*command: object) -> None:
    """Show a command and run it; leave with its exit status when it fails."""
    words = [str(word) for word in command]
    CONSOLE.print(f"[bold]$ {shlex.join(words)}[/bold]", highlight=False, soft_wrap=True)
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
    status = subprocess.run(words, env=environment, check=False).returncode
    if status:
        sys.exit(status)
    CONSOLE.print()


if __name__ == "__main__":
    sys.exit(main())
