"""`trimtab check`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.devices import meet
from trimtab.planner.cli.commands.show import Format
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import PlanningError

if TYPE_CHECKING:
    from trimtab.planner.gate.findings import CheckReport

_PROBLEM = 1


def check(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(help="The specification: models, images, device.")],
    against: Annotated[
        str,
        typer.Option(
            metavar="BUNDLE|PLAN|JOB",
            help="What was shipped: its .pyz file, or a plan or job of the store.",
        ),
    ],
    candidate: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE|PLAN|JOB",
            help="What would be shipped; default: the shipped plan, made anew of JOB's models.",
        ),
    ] = None,
    shipped_python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The interpreter that runs what was shipped, with the packages that it was "
            "shipped with; default: this one.",
        ),
    ] = None,
    slower: Annotated[
        float, typer.Option(min=0, help="Latency that may be added, in percent.")
    ] = 3.0,
    points: Annotated[
        float, typer.Option(min=0, help="Accuracy that may be lost, in percentage points.")
    ] = 0.0,
    memory: Annotated[
        float, typer.Option(min=0, help="Peak memory that may be added, in percent.")
    ] = 5.0,
    size: Annotated[
        float, typer.Option(min=0, help="Size of the file that may be added, in percent.")
    ] = 2.0,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull request to this file.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Compare a new model or runtime with what was shipped. Exit status 1 where accuracy, latency,
    memory or size are worse beyond noise, 2 for wrong use."""
    from trimtab.planner.cli.progress import watcher
    from trimtab.planner.gate.findings import Limits
    from trimtab.planner.gate.gate import check as run
    from trimtab.planner.specification.job import check_present, load_spec

    here, spec = surroundings(context).beside(job), load_spec(job)
    check_present(spec)
    for path in (junit, markdown):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"{path}: its folder does not exist")
    for device in spec.places:
        meet(device.address, **device.settings)
    limits = Limits(slower / 100, points, memory / 100, size / 100)
    opened = here.writing() if here.exists else nullcontext(None)
    with opened as store, watcher(console(sys.stderr)) as watching:
        found = run(
            spec,
            against,
            store,
            watching,
            candidate,
            limits,
            shipped_python=shipped_python,
        )
    if output is Format.json:
        typer.echo(tables.json_text({**asdict(found), "passed": found.passed}))
    else:
        _print(found)
    _write(found, junit, markdown)
    if not found.passed:
        raise typer.Exit(_PROBLEM)


def _write(found: CheckReport, junit: Path | None, markdown: Path | None) -> None:
    from trimtab.planner.gate import documents

    for path, text in (
        (junit, documents.junit_xml(found)),
        (markdown, documents.markdown(found)),
    ):
        if path is not None:
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise PlanningError(f"{path}: cannot be written ({error.strerror})") from error


def _print(found: CheckReport) -> None:
    from trimtab.planner.gate.documents import figure

    screen = console()
    table = tables.plain_table("", "shipped", "new", "change", "")
    for row in found.findings:
        values = (figure(value, row.unit) for value in (row.shipped, row.new))
        style = "bold red" if row.verdict == "worse" else ""
        table.add_row(row.name, *values, row.change, row.verdict, style=style)
    screen.print(table)
    for note in found.notes:
        screen.print(printable(f"Note: {note}"), soft_wrap=True)
    screen.print(found.sentence, style="bold", soft_wrap=True)
