"""`trimtab jobs`, `front` and `show`: what the store holds."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli import tables
from trimtab.planner.cli.confusions import confusion_lines
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import find_job, find_plan, job_on_device, job_state
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports import notes
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.places import job_place
from trimtab.planner.reports.plan.report import PlanReport, report_plan
from trimtab.planner.reports.text import number, printable

_ROWS = 20


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


class FrontFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


def jobs(
    context: typer.Context,
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """List the jobs in the store, newest first."""
    with surroundings(context).reading() as store:
        found = [_job_line(store, job) for job in store.list_jobs()]
    if output is Format.json:
        typer.echo(tables.json_text(found))
        return
    screen = console()
    if not found:
        screen.print("No jobs yet; start one with `trimtab plan job.yaml`.")
        return
    names = ("id", "name", "state", "device", "started", "candidates", "plans", "message")
    table = tables.plain_table(*names)
    table.columns[0].no_wrap = True
    for line in found:
        table.add_row(*(str(line[name] if line[name] is not None else "") for name in names))
    screen.print(table)


def _job_line(store: Store, job: JobRecord) -> dict[str, Any]:
    state = job_state(store, job)
    message = job.message
    if state == "running":
        done, total = job.progress.get("done", 0), job.progress.get("total", 0)
        share = f" {done / total:.0%}" if total else ""
        step, detail = job.progress.get("step", ""), job.progress.get("detail", "")
        message = f"{step}{share} {detail}".strip()
    elif state == "killed":
        message = "the process was killed; run the same `trimtab plan` again to resume"
    return {
        "id": job.id,
        "name": printable(job.name),
        "state": state,
        "device": job_place(store, job),
        "started": job.started_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        "candidates": len(store.list_candidates(job.id)) or summary_of(job).get("candidates", 0),
        "plans": summary_of(job).get("plans"),
        "chosen": summary_of(job).get("chosen"),
        "message": printable(message) if message else None,
    }


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
    output: Annotated[
        FrontFormat, typer.Option("--format", help="table, json or csv.")
    ] = FrontFormat.table,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot to this .html or .png file instead.")
    ] = None,
) -> None:
    """Show the Pareto front of a job, together with every original model."""
    if plot is not None and plot.suffix.lower() not in (".html", ".png"):
        raise typer.BadParameter(f"--plot must name an .html or .png file, got {plot}")
    with surroundings(context).reading() as store:
        found = find_job(store, job)
        found = job_on_device(store, found, device) if device else found
        view = front_view(store, found)
        told = verdict(store, found, view) if output is FrontFormat.table and not plot else []
    if plot is not None:
        from trimtab.planner.reports.plots.front import write_plot

        console().print(
            f"Wrote {write_plot(view, view.pick(limit, dominated), plot)}", soft_wrap=True
        )
        return
    if output is FrontFormat.table and limit is None and not dominated:
        limit = _ROWS
    rows = view.pick(limit, dominated)
    if output is FrontFormat.json:
        typer.echo(tables.json_text(view.plain(rows)))
    elif output is FrontFormat.csv:
        typer.echo(tables.csv_text(rows, view.objectives), nl=False)
    else:
        screen = console()
        screen.print(f"Job {view.job_id} ({view.job_name}), {view.state}, on {view.device}")
        screen.print(tables.front_table(view, rows, screen.width))
        for line in notes.front_notes(view, len(rows)):
            screen.print(line, style="dim")
        for line in told:
            screen.print(line, style="bold")
        if view.chosen is None:
            for line in notes.why_none(view):
                screen.print(line, soft_wrap=True)


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
        found = report_plan(store, find_plan(store, plan, device))
    if output is Format.json:
        typer.echo(tables.json_text({**asdict(found), "row": found.row.plain()}))
    else:
        _print_explanation(found)


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
    screen.print(f"plan {row.key}", soft_wrap=True)
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
