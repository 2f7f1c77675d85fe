"""`trimtab plan`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli.commands.devices import meet
from trimtab.planner.cli.commands.front import print_front
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.cli.termination import Terminated, heeding_sigterm
from trimtab.planner.jobs.lookup import devices_of
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab.planner.reports import notes
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import FrontView, front_view
from trimtab.planner.reports.notes import troubles_text
from trimtab.planner.reports.text import printable
from trimtab.planner.specification.job import JobSpec

_SHORT_FRONT, _SHOWN_FAILURES = 10, 5
_PROBLEM, _INTERRUPTED, _TERMINATED = 1, 130, 143


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
    budget: Annotated[
        float | None,
        typer.Option(min=0.01, help="Minutes to measure, in place of the specification's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; measure nothing.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the verdict alone, and errors.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print progress and the result as lines of JSON, for CI."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print all that is known of the front.")
    ] = False,
) -> None:
    """Run a planning job, or resume one that was stopped. Exit status 0: a plan was chosen; 1:
    none was, or something failed; 2: wrong use or specification; 130, 143: interrupted."""
    from trimtab.planner.cli import progress
    from trimtab.planner.pipeline.job import plan as run
    from trimtab.planner.specification.job import check_present, load_spec

    spec = load_spec(job)  # before a store is made
    if cluster is not None:
        spec = spec.model_copy(update={"cluster": cluster})
    check_present(spec)
    if budget is not None:
        limits = spec.budget.model_copy(update={"minutes": budget})
        spec = spec.model_copy(update={"budget": limits})
    here = surroundings(context).beside(job)
    if dry_run:
        _print_outlook(spec, here)
        return
    for device in spec.places:
        meet(device.address, **device.settings)
    again = f"{here.command} plan {shlex.quote(str(job))}"
    again += "" if budget is None else f" --budget {budget:g}"
    again += "" if cluster is None else f" --cluster {shlex.quote(cluster)}"
    errors, began = console(sys.stderr), time.monotonic()
    watcher = progress.QuietWatcher(errors) if quiet else progress.watcher(errors)
    if as_json:
        watcher = progress.JsonWatcher(console())
    how = "json" if as_json else "quiet" if quiet else "verbose" if verbose else "short"
    try:
        with heeding_sigterm(), here.writing() as store:
            with watcher as watching:
                record = run(spec, store, watching, setup="forced" if force else "checked")
            printer = _Printer(here, how, time.monotonic() - began)
            chosen = printer.print_results(store, record)
    except KeyboardInterrupt as error:
        print(f"stopped; resume with `{again}`", file=sys.stderr)
        status = _TERMINATED if isinstance(error, Terminated) else _INTERRUPTED
        raise typer.Exit(status) from None
    if not chosen:
        raise typer.Exit(_PROBLEM)


def _print_outlook(spec: JobSpec, here: StoreLocation) -> None:
    from trimtab.planner.cli.outlook import outlook

    screen = console()
    if here.exists:
        with here.reading() as store:
            lines = outlook(spec, store)
    else:
        lines = outlook(spec, None)
    for line in lines:
        screen.print(line)
    made = "" if here.exists else ", which will be created"
    screen.print(f"Store: {here.shown}{made}", soft_wrap=True)


class _Printer:
    """Prints what a job has found: `how` is 'short', 'verbose', 'quiet' or 'json'."""

    def __init__(self, here: StoreLocation, how: str, seconds: float) -> None:
        self._here, self._how, self._seconds = here, how, seconds

    def print_results(self, store: Store, record: JobRecord) -> bool:
        """What was found, on each device and over all; whether that is everything that was
        asked."""
        devices, complete = devices_of(record), record.state == "done"
        if not devices:
            return self._print_result(store, record)
        for device in devices:
            done = device["job"] if device["problem"] is None else None
            job = store.get_job(done) if done else None
            if job is not None:
                complete &= self._print_result(store, job, ["--device", device["name"]])
        if record.state == "done" and record.spec["across"] == "worst":
            complete &= self._print_result(store, record)
        if record.message:
            print(f"error: {printable(record.message)}", file=sys.stderr)
        return complete

    def _print_result(self, store: Store, record: JobRecord, device: Sequence[str] = ()) -> bool:
        """The front in short, the verdict and what to do next (with options that name the
        `device`); whether there is a chosen plan."""
        view = front_view(store, record)
        told = verdict(store, record, view)
        if self._how == "json":
            self._print_json(view, told)
            return view.chosen is not None
        screen = console()
        if self._how != "quiet":
            screen.print(f"\nJob {record.id} ({record.name}) on {view.device}", style="bold")
            print_front(view, view.pick(_SHORT_FRONT), self._how == "verbose")
            for line in _left_out(store, record):
                screen.print(line, style="dim")
            screen.print()
        if view.chosen is None:
            for line in notes.why_none(view):
                print(f"error: {line}", file=sys.stderr)
        for line in told:
            screen.print(line, style="bold", soft_wrap=True)
        if view.chosen is not None and self._how != "quiet":
            self._print_next(view.chosen[:8], shlex.join(device))
        return view.chosen is not None

    def _print_next(self, key: str, device: str) -> None:
        screen, on = console(), f" {device}" if device else ""
        screen.print("\nNext:")
        for command, purpose in (
            (f"show {key}{on}", "why this plan is fast"),
            (f"front{on} --why", "why no other plan was chosen"),
            (f"export {key}{on} -o plan.pyz", "write one file that runs on the device"),
        ):
            screen.print(f"  {self._here.command} {command:<28} # {purpose}", soft_wrap=True)
        screen.print(f"Store: {self._here.shown}", style="dim", soft_wrap=True)

    def _print_json(self, view: FrontView, told: Sequence[str]) -> None:
        result = {
            "event": "result",
            "job": view.job_id,
            "name": view.job_name,
            "device": view.device,
            "chosen": view.chosen,
            "baseline": view.baseline,
            "verdict": list(told) or notes.why_none(view),
            "store": self._here.shown,
            "seconds": round(self._seconds, 1),
        }
        typer.echo(json.dumps(result))


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
