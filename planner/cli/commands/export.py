"""`trimtab export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trimtab.planner.cli.commands.show import OnDevice, PlanName
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import find_plan
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import PlanningError


def export(
    context: typer.Context,
    plan: PlanName = "chosen",
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "plan.pyz"
    ),
    device: OnDevice = None,
) -> None:
    """Write a plan as one file that runs on the device."""
    from trimtab.planner.bundles.export import export_plan

    if output.is_dir():
        raise typer.BadParameter(
            f"{output} is a folder; give a file name, e.g. {output / 'plan.pyz'}"
        )
    with surroundings(context).reading() as store:
        found = find_plan(store, plan, device)
        verified = {v.plan_key for v in store.list_verifications(found.job_id) if v.state == "ok"}
        try:
            written = export_plan(store, found.key, output, device)
        except OSError as error:
            raise PlanningError(f"{output}: cannot be written ({error.strerror})") from error
    size_mb = written.stat().st_size / 2**20
    checked = "the verified file itself" if found.key in verified else "not verified"
    screen = console()
    screen.print(
        f"Wrote {written}: {printable(found.label)}, {size_mb:.1f} MB, {checked}.", soft_wrap=True
    )
    name = shlex.quote(str(written))
    screen.print(f"Run it:   python {name} classify photo.jpg")
    screen.print(f"Check it: python {name} selftest")
