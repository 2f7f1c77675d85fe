"""`trimtab check-setup`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.show import Format
from trimtab.planner.cli.console import console
from trimtab.planner.reports.text import printable

if TYPE_CHECKING:
    from trimtab.planner.setup_check.records import SetupCheck

_PROBLEM = 1


def check_setup(
    job: Annotated[Path, typer.Argument(help="The specification, a YAML file.")],
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Try the usual preprocessings and class orders on labelled images, and say which answer
    best. Exit status 1 where what JOB says is beaten beyond doubt, or all members answer near
    chance."""
    from trimtab.planner.setup_check.specified import check_specification
    from trimtab.planner.setup_check.words import findings
    from trimtab.planner.specification.job import check_present, load_spec

    spec = load_spec(job)
    check_present(spec)
    found = check_specification(spec)
    if output is Format.json:
        typer.echo(tables.json_text({**asdict(found), "stops": found.stops}))
    else:
        _print_check(found)
    for text in findings(found):
        print(f"warning: {printable(text)}", file=sys.stderr)
    if found.stops:
        raise typer.Exit(_PROBLEM)


def _print_check(found: SetupCheck) -> None:
    from trimtab.planner.setup_check.words import HEADERS, explanation, table_rows

    screen = console()
    table = tables.plain_table(*HEADERS)
    for row in table_rows(found):
        table.add_row(*map(printable, row))
    screen.print(table)
    screen.print()
    for member in found.members:
        for note in member.notes:
            screen.print(printable(f"{member.member}: {note}"), soft_wrap=True)
    for line in explanation(found):
        screen.print(line, soft_wrap=True)
