"""`trimtab gc`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from trimtab.db import Leftover, Unreferenced
from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.show import Format
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.progress import time_text
from trimtab.planner.reports.text import printable

_PROBLEM = 1
_DAY_S = 86_400.0


def gc(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    strays: Annotated[
        bool,
        typer.Option(
            "--strays",
            help="Also remove files that this store does not know; not where another store uses "
            "the same folder.",
        ),
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Remove models, traces and bundles that nothing refers to any more, after showing them.

    Exit status 1 if a file is missing that is referred to.
    """
    if output is Format.json and not (yes or dry_run):
        raise typer.BadParameter(
            "--format json cannot ask for confirmation; add --yes or --dry-run"
        )
    here = surroundings(context).nearest()
    removed: list[Leftover] = []
    with (here.reading if dry_run or not here.exists else here.writing)() as store:
        found = store.unreferenced()
        wanted = [item for item in found.leftovers if strays or item.kind != "stray"]
        if output is Format.table:
            _print_found(found, wanted)
        if wanted and not dry_run and (yes or typer.confirm("Remove them?")):
            removed = store.remove_unreferenced(wanted)
    if output is Format.json:
        typer.echo(tables.json_text(_plain(found, removed)))
    elif wanted and not dry_run:
        console().print(f"Removed {_total(removed)}." if removed else "Nothing was removed.")
    if found.missing:
        raise typer.Exit(_PROBLEM)


def _print_found(found: Unreferenced, wanted: Sequence[Leftover]) -> None:
    screen = console()
    table = tables.plain_table("kind", "name", "size", "age")
    table.columns[2].justify = table.columns[3].justify = "right"
    for item in found.leftovers:
        table.add_row(item.kind, printable(item.name), _size(item.size_bytes), _age(item.age_s))
    if found.leftovers:
        screen.print(table)
    if wanted:
        screen.print(f"Nothing refers to {_total(wanted)}.")
    else:
        screen.print("Nothing to remove.")
    kept = [item for item in found.leftovers if item not in wanted]
    if kept:
        screen.print(
            f"This store does not know {_total(kept)} (stray): --strays removes them too; not "
            "where another store uses the same folder.",
            soft_wrap=True,
        )
    for record in found.missing:
        text = f"Missing, but referred to: {record.kind} {record.name} ({record.sha256})"
        screen.print(printable(text), soft_wrap=True)


def _plain(found: Unreferenced, removed: Sequence[Leftover]) -> dict[str, Any]:
    return {
        "unreferenced": [asdict(item) | {"path": str(item.path)} for item in found.leftovers],
        "total_bytes": sum(item.size_bytes for item in found.leftovers),
        "removed": [str(item.path) for item in removed],
        "removed_bytes": sum(item.size_bytes for item in removed),
        "missing": [asdict(record) for record in found.missing],
    }


def _total(items: Sequence[Leftover]) -> str:
    files = "1 file" if len(items) == 1 else f"{len(items)} files"
    return f"{files}, {_size(sum(item.size_bytes for item in items))}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MB"


def _age(age_s: float | None) -> str:
    if age_s is None:
        return "no file"
    return time_text(age_s) if age_s < 2 * _DAY_S else f"{age_s / _DAY_S:.0f} days"
