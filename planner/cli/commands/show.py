"""`trimtab show`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli import tables
from trimtab.planner.cli.confusions import confusion_lines
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import find_plan
from trimtab.planner.reports import notes
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import FrontView, front_view
from trimtab.planner.reports.plan.report import PlanReport, report_plan
from trimtab.planner.reports.text import number, printable
from trimtab.planner.reports.why_not import why_not


class Format(StrEnum):
    table = "table"
    json = "json"


OnDevice = Annotated[
    str | None,
    typer.Option(
        "--device", help="One device of a job on several; default: the worst case over all."
    ),
]


PlanName = Annotated[
    str,
    typer.Argument(
        help="A plan's key (or its first letters), or `chosen` or `baseline`: of the latest job."
    ),
]


def show(
    context: typer.Context,
    plan: PlanName = "chosen",
    device: OnDevice = None,
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Plot at which exit each input leaves, frame by frame, to this .png file instead."
        ),
    ] = None,
) -> None:
    """Explain a plan: its stages, where its time goes, predicted against measured costs."""
    if plot is not None:
        _plot_exits(context, plan, device, plot)
        return
    with surroundings(context).reading() as store:
        record = find_plan(store, plan, device)
        job = store.get_job(record.job_id)
        assert job is not None  # a foreign key of the plan
        view = front_view(store, job)
        found = report_plan(store, record, view)
        told = _verdict(store, job, view, found) if output is Format.table else []
    if output is Format.json:
        typer.echo(tables.json_text({**asdict(found), "row": found.row.plain()}))
    else:
        _print_explanation(found)
        for line in told:
            console().print(line, style="bold", soft_wrap=True)


def _verdict(store: Store, job: JobRecord, view: FrontView, found: PlanReport) -> list[str]:
    """That on the job, of its chosen plan; of another one why it was not chosen."""
    if "chosen" in found.row.roles:
        return verdict(store, job, view)
    return [f"Why not this one? {each.text}." for each in why_not(store, job, view, found.row.key)]


def _plot_exits(context: typer.Context, plan: str, device: str | None, target: Path) -> None:
    from trimtab.planner.reports.plots.exits import exit_picture, write_exits

    if target.suffix.lower() != ".png":
        raise typer.BadParameter(f"--plot must name a .png file, got {target}")
    with surroundings(context).reading() as store:
        picture = exit_picture(store, find_plan(store, plan, device))
    console().print(f"Wrote {write_exits(picture, target)}", soft_wrap=True)


def _print_explanation(found: PlanReport) -> None:
    screen, row = console(), found.row
    screen.print(tables.heading(row.label))
    screen.print(f"plan {row.key}, {row.short}", soft_wrap=True)
    roles = ", ".join(row.roles) or "dominated"
    screen.print(f"{roles}; job {found.job_id} ({found.job_name}) on {found.device}")
    for text in found.setup:
        screen.print(f"Set-up in doubt: {text}", style="bold red", soft_wrap=True)
    screen.print(f"\n{found.why}", soft_wrap=True)
    for line in notes.choice_notes(row):
        screen.print(line, soft_wrap=True)
    if row.alike:
        alike = "; ".join(row.alike)
        screen.print(f"Cannot be told apart in latency from: {alike}.", soft_wrap=True)
    for name, text in found.losses.items():
        screen.print(f"{name} {text}.", soft_wrap=True)
    screen.print(tables.heading(f"\nStages ({notes.route_text(found)})"))
    screen.print(tables.stage_table(found.stages))
    _print_routes(found)
    _print_exits(found)
    screen.print()
    screen.print(tables.quality_table(row))
    if found.confusions is not None:
        screen.print()
        for line in confusion_lines(found.confusions):
            screen.print(line, soft_wrap=True)
    screen.print()
    screen.print(tables.cost_table(found))
    for line in [*notes.caution_notes(row), *notes.device_notes(found)]:
        screen.print(line, soft_wrap=True)
    for method in found.energy_methods:
        screen.print(f"Energy: {printable(method)}; idle power subtracted.", soft_wrap=True)
    for name, text in found.slimming.items():
        screen.print(f"Slimming of {name}: {text}.", soft_wrap=True)
    _print_verification(found)
    _print_constraints(found)
    screen.print(tables.heading("\nLineage"))
    for line in dict.fromkeys(line for stage in found.stages for line in stage.lineage):
        screen.print(f"  {line}", soft_wrap=True)


def _print_routes(found: PlanReport) -> None:
    if not found.routes:
        return
    screen = console()
    screen.print(tables.heading("\nRoutes of the test inputs"))
    screen.print(tables.route_table(found))
    for line in notes.router_notes(found):
        screen.print(line, soft_wrap=True)


def _print_exits(found: PlanReport) -> None:
    screen = console()
    if found.exits:
        screen.print(tables.heading("\nExits of the test inputs"))
        screen.print(tables.exit_table(found))
        for line in notes.exit_notes(found):
            screen.print(line, soft_wrap=True)
    for name, text in found.early.items():
        screen.print(f"Early exits of {name}: {text}.", soft_wrap=True)


def _print_verification(found: PlanReport) -> None:
    screen = console()
    if found.row.status == "verified":
        mismatch = found.verified.get("answer_mismatch")
        told = (
            "" if mismatch is None else f"; {mismatch:.2%} of its answers differ from the replay"
        )
        where = "on all devices" if found.on_each else "on the device"
        screen.print(f"\nVerified: its bundle was run {where}{told}.", soft_wrap=True)
        for line in notes.reference_notes(found):
            screen.print(f"  {line}", soft_wrap=True)
    elif found.row.status == "failed":
        screen.print(f"\nVerification failed: {found.failure}", soft_wrap=True)
    else:
        screen.print("\nNot verified: its costs are predicted.")
    for text in found.disturbances:
        screen.print(f"  Disturbed: {text}", soft_wrap=True)


def _print_constraints(found: PlanReport) -> None:
    if not found.constraints and not found.row.reasons:
        return
    screen = console()
    screen.print(tables.heading("\nConstraints"))
    for rule in found.constraints:
        limit = "" if rule.limit is None else f" (limit {number(rule.limit)})"
        met = {"yes": "met", "no": "violated", "unknown": "unknown"}[rule.met]
        line = f"  {met}: {printable(rule.text)}{limit}; this plan {number(rule.value)}"
        if rule.met == "no" and rule.limit is not None and rule.value is not None:
            line += f", missed by {number(abs(rule.value - rule.limit))}"
        screen.print(line, soft_wrap=True)
    told = tuple(f"{printable(rule.text)}: " for rule in found.constraints)
    for reason in found.row.reasons:
        if not reason.startswith(told):
            screen.print(f"  {reason}", soft_wrap=True)
