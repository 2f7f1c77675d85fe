"""`trimtab init` and `trimtab plan`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.devices import meet
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.cli.termination import Terminated, heeding_sigterm
from trimtab.planner.jobs.lookup import devices_of
from trimtab.planner.jobs.store_location import DEFAULT_STORE, StoreLocation
from trimtab.planner.reports import notes
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import FrontView, front_view
from trimtab.planner.reports.notes import troubles_text
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import SpecificationError

_SHORT_FRONT, _SHOWN_FAILURES = 10, 5
_PROBLEM, _INTERRUPTED, _TERMINATED = 1, 130, 143


def init(
    folder: Annotated[Path, typer.Argument(help="The folder with the models and images.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The specification to write.")
    ] = Path("job.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented starter specification for the models and images below FOLDER."""
    from trimtab.planner.setup_check.proposal import propose
    from trimtab.planner.specification.scaffold import write_starter

    if output.exists() and not force:
        raise SpecificationError(
            f"{output} exists; choose another --output, or replace it with --force"
        )
    starter = write_starter(folder, output, propose)
    screen = console()
    screen.print(f"Wrote {output}: {starter.summary}.", soft_wrap=True)
    if starter.guesses:
        screen.print(
            f"Check the {starter.guesses} line(s) marked GUESS: the files do not specify them."
        )
    for notice in starter.notices:
        screen.print(printable(f"Note: {notice}"), soft_wrap=True)
    for problem in starter.problems:
        screen.print(f"Left out: {problem}", soft_wrap=True)
    screen.print(f"Next: trimtab plan {shlex.quote(str(output))}")


def plan(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(help="The specification, a YAML file.")],
    force: Annotated[
        bool, typer.Option("--force", help="Go on where the set-up of members is in doubt.")
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(help="Make variants on this Ray cluster: auto, or its address."),
    ] = None,
) -> None:
    """Run a planning job, or resume one that was stopped."""
    from trimtab.planner.cli.progress import watcher
    from trimtab.planner.pipeline.job import plan as run
    from trimtab.planner.specification.job import load_spec

    here = surroundings(context)
    spec = load_spec(job)  # before a store is made
    if cluster is not None:
        spec = spec.model_copy(update={"cluster": cluster})
    _tell_of_another_store(here, job)
    for device in spec.places:
        meet(device.address, **device.settings)
    again = f"{here.command} plan {shlex.quote(str(job))}"
    try:
        with heeding_sigterm(), here.writing() as store:
            with watcher(console(sys.stderr)) as watching:
                record = run(spec, store, watching, setup="forced" if force else "checked")
            chosen = _print_results(store, record, here)
    except KeyboardInterrupt as error:
        print(f"stopped; resume with `{again}`", file=sys.stderr)
        status = _TERMINATED if isinstance(error, Terminated) else _INTERRUPTED
        raise typer.Exit(status) from None
    if not chosen:
        raise typer.Exit(_PROBLEM)


def _tell_of_another_store(here: StoreLocation, job: Path) -> None:
    """Where a new store would be made although one lies beside the job."""
    beside = job.parent / DEFAULT_STORE
    if here.store == DEFAULT_STORE and not here.exists and beside.is_file():
        print(
            f"note: a new store is created in {Path.cwd()}, and all is measured again; to go on "
            f"with the one beside the job: trimtab --store {beside} plan {job}",
            file=sys.stderr,
        )


def _print_results(store: Store, record: JobRecord, here: StoreLocation) -> bool:
    """What was found, on each device and over all; whether that is everything that was asked."""
    devices, complete = devices_of(record), record.state == "done"
    if not devices:
        return _print_result(store, record, here)
    for device in devices:
        done = device["job"] if device["problem"] is None else None
        job = store.get_job(done) if done else None
        if job is not None:
            again = ["--device", device["name"]]
            complete &= _print_result(store, job, here, again)
    if record.state == "done" and record.spec["across"] == "worst":
        complete &= _print_result(store, record, here)
    if record.message:
        print(f"error: {printable(record.message)}", file=sys.stderr)
    return complete


def _print_result(
    store: Store, record: JobRecord, here: StoreLocation, device: Sequence[str] = ()
) -> bool:
    """The front in short, the chosen plan and what to do next (with options that name the
    `device`); whether there is one."""
    view = front_view(store, record)
    rows = view.pick(_SHORT_FRONT)
    screen = console()
    screen.print(f"\nJob {record.id} ({record.name}) on {view.device}", style="bold")
    screen.print(tables.front_table(view, rows, screen.width))
    for line in [*notes.front_notes(view, len(rows)), *_left_out(store, record)]:
        screen.print(line, style="dim")
    _print_choice(view, here, shlex.join(device), verdict(store, record, view))
    return view.chosen is not None


def _left_out(store: Store, record: JobRecord) -> list[str]:
    """What the front cannot show: candidates that failed, and troubles with the device."""
    failed = [c for c in store.list_candidates(record.id) if c.state == "failed"]
    lines = [
        printable(f"Left out: {found.options.get('label', found.key)}: {found.reason}")
        for found in failed
    ]
    more = len(lines) - _SHOWN_FAILURES
    lines = lines[:_SHOWN_FAILURES] + ([f"Left out: {more} more"] if more > 0 else [])
    told = troubles_text(record)
    return lines if told is None else [*lines, told]


def _print_choice(view: FrontView, here: StoreLocation, device: str, told: Sequence[str]) -> None:
    screen, chosen, baseline = console(), view.row(view.chosen), view.row(view.baseline)
    screen.print()
    if baseline is not None:
        screen.print(f"Baseline {notes.summary_line(baseline, view)}", soft_wrap=True)
    if chosen is None:
        for line in notes.why_none(view):
            print(f"error: {line}", file=sys.stderr)
        return
    screen.print(f"Chosen   {notes.summary_line(chosen, view)}", style="bold", soft_wrap=True)
    for line in told:
        screen.print(line, style="bold", soft_wrap=True)
    key, on = chosen.key[:8], f" {device}" if device else ""
    screen.print("\nNext:")
    for command, purpose in (
        (f"show {key}{on}", "why this plan was chosen"),
        (f"front{on} --plot front.html", "plot the whole front"),
        (f"export {key}{on} -o plan.pyz", "write one file that runs on the device"),
    ):
        screen.print(f"  {here.command} {command:<28} # {purpose}", soft_wrap=True)
