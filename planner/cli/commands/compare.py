"""`trimtab compare`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.show import Format, OnDevice, PlanName
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import find_plan
from trimtab.planner.reports.comparison import Comparison, compare_plans
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.text import UNKNOWN, number
from trimtab_runtime.errors import PlanningError


def compare(
    context: typer.Context,
    first: PlanName = "chosen",
    second: PlanName = "baseline",
    device: OnDevice = None,
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Compare two plans of a job: figures side by side, and which answers change."""
    with surroundings(context).reading() as store:
        own, base = (find_plan(store, name, device) for name in (first, second))
        if own.job_id != base.job_id:
            raise PlanningError(
                f"{own.key[:8]} and {base.key[:8]} are of different jobs ({own.job_id}, "
                f"{base.job_id}), whose test images may differ; compare plans of one job"
            )
        job = store.get_job(own.job_id)
        assert job is not None
        found = compare_plans(store, job, front_view(store, job), own.key, base.key)
    if output is Format.json:
        typer.echo(tables.json_text(asdict(found)))
        return
    _print(found)


def _print(found: Comparison) -> None:
    screen = console()
    names = dict.fromkeys([*found.first.figures, *found.second.figures])
    table = tables.plain_table("", found.first.label, found.second.label)
    for metric in names:
        values = [row.figure(metric) for row in (found.first, found.second)]
        for basis in ("test", "measured", "predicted", "decided"):
            told = [getattr(value, basis) for value in values]
            if any(value is not None for value in told):
                label = {"decided": "estimated on validation"}.get(basis, basis)
                cells = [UNKNOWN if v is None else number(v, metric) for v in told]
                table.add_row(f"{metric}, {label}", *cells)
                break
    screen.print(table)
    screen.print()
    screen.print(
        f"{found.first.label} against {found.second.label}: {found.gains}.", soft_wrap=True
    )
    if found.unknown:
        screen.print(f"Which answers change is not known: {found.unknown}", soft_wrap=True)
