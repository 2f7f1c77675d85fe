"""`trimtab front`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli import front_table, tables
from trimtab.planner.cli.commands.show import OnDevice
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import (
    devices_of,
    find_job,
    job_on_device,
    job_state,
    jobs_of_devices,
)
from trimtab.planner.reports import notes
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import FrontView, PlanRow, front_view
from trimtab.planner.reports.terms import TERMS
from trimtab.planner.reports.text import printable
from trimtab.planner.reports.why_not import WhyNot, why_not

_ROWS = 20


class FrontFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


def front(
    context: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(
            help="Id of a job (or its first letters), or its name; default: the latest."
        ),
    ] = None,
    device: OnDevice = None,
    dominated: Annotated[bool, typer.Option("--all", help="Show dominated plans too.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Show at most so many rows, spread over the front; default of tables: {_ROWS}.",
        ),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Say of every other plan why it was not chosen.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show what decided, predictions beside measurements, notes."
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what columns and terms mean.")
    ] = False,
    output: Annotated[
        FrontFormat, typer.Option("--format", help="table, json or csv.")
    ] = FrontFormat.table,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot to this .html or .png file instead.")
    ] = None,
) -> None:
    """Show the Pareto front of a job, together with every original model, and what to ship."""
    if plot is not None and plot.suffix.lower() not in (".html", ".png"):
        raise typer.BadParameter(f"--plot must name an .html or .png file, got {plot}")
    table = output is FrontFormat.table and not plot
    with surroundings(context).reading() as store:
        found = find_job(store, job) if job else _latest(store)
        found = job_on_device(store, found, device) if device else found
        view = front_view(store, found)
        told = verdict(store, found, view) if table else []
        others = why_not(store, found, view) if table and why else []
    if plot is not None:
        from trimtab.planner.reports.plots.front import write_plot

        console().print(
            f"Wrote {write_plot(view, view.pick(limit, dominated), plot)}", soft_wrap=True
        )
        return
    if table and limit is None and not dominated:
        limit = _ROWS
    rows = view.pick(limit, dominated)
    if output is FrontFormat.json:
        typer.echo(tables.json_text(view.plain(rows)))
    elif output is FrontFormat.csv:
        typer.echo(tables.csv_text(rows, view.objectives), nl=False)
    else:
        screen = console()
        screen.print(f"Job {view.job_id} ({view.job_name}), {view.state}, on {view.device}")
        print_front(view, rows, verbose)
        _print_below(view, told, others)
        if explain:
            print_terms()


def _latest(store: Store) -> JobRecord:
    """The latest job; where it has no plans and is on one device, the latest that has some, which
    is said."""
    latest = find_job(store)
    if devices_of(latest) or store.list_plans(latest.id):
        return latest
    parts = jobs_of_devices(jobs := store.list_jobs())
    earlier = (job for job in jobs if job.id not in parts and store.list_plans(job.id))
    found = next(earlier, latest)
    if found is not latest:
        print(
            f"note: job {latest.id} ({printable(latest.name)}) has no plans "
            f"({job_state(store, latest)}); this is the latest that has",
            file=sys.stderr,
        )
    return found


def print_front(view: FrontView, rows: list[PlanRow], verbose: bool) -> None:
    """The table, and what its columns are; with all that is known of it where that is wanted."""
    screen = console()
    if verbose:
        screen.print(tables.full_front_table(view, rows, screen.width))
        for line in notes.front_notes(view, len(rows)):
            screen.print(line, style="dim")
        return
    rows = front_table.in_order(view, rows)
    screen.print(front_table.front_table(view, rows, screen.width))
    screen.print(front_table.legend(view, len(rows)), style="dim")


def _print_below(view: FrontView, told: list[str], others: list[WhyNot]) -> None:
    screen = console()
    screen.print()
    for line in told:
        screen.print(line, style="bold")
    if view.chosen is None:
        for line in notes.why_none(view):
            screen.print(line, soft_wrap=True)
    if others:
        screen.print(tables.heading("\nWhy not"))
    for other in others:
        screen.print(f"{other.key[:8]} {other.label}? {other.text}.")


def print_terms() -> None:
    """What columns and terms mean."""
    screen = console()
    screen.print(tables.heading("\nColumns and terms"))
    table = tables.plain_table("term", "meaning")
    table.columns[0].no_wrap = True
    for name, text in TERMS.items():
        table.add_row(name, text)
    screen.print(table)
