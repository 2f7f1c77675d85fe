"""`trimtab layers --int8`: what int8 does to each block of a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trimtab.planner.cli import tables
from trimtab.planner.cli.console import console
from trimtab.planner.reports.text import UNKNOWN, number, printable

if TYPE_CHECKING:
    from rich.table import Table

    from trimtab.db import Store
    from trimtab.planner.reports.int8_blocks import BlockProfile
    from trimtab.profilers import Device
    from trimtab_runtime.definitions.plan import RuntimeOptions

_COLUMNS = ("block", "error", "float ms", "int8 ms", "saves ms", "MMAC")


def show_blocks(
    store: Store,
    device: Device,
    model: Path,
    options: RuntimeOptions,
    runs: int,
    form: str,
    plot: Path | None,
) -> None:
    """Print (table, json or csv) or draw what int8 does to each block."""
    from trimtab.planner.reports.int8_blocks import profile_blocks

    found = profile_blocks(store, device, model, options, runs)
    for text in found.warnings:
        print(f"warning: {printable(text)}", file=sys.stderr)
    if plot is not None:
        from trimtab.planner.reports.plots.int8_blocks import write_blocks

        console().print(f"Wrote {write_blocks(found, plot)}", soft_wrap=True)
    elif form == "json":
        typer.echo(tables.json_text(found.plain()))
    elif form == "csv":
        rows: list[dict[str, Any]] = [dict(vars(each)) for each in found.blocks]
        typer.echo(tables.written(rows, list(rows[0])), nl=False)
    else:
        _print(found)


def _print(found: BlockProfile) -> None:
    screen = console()
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    screen.print(
        f"{printable(found.model)} on {found.device}, {found.engine}, {threads}: "
        f"{number(found.float_ms)} ms a run in float, {number(found.int8_ms)} ms in int8 (w8a8)",
        soft_wrap=True,
    )
    screen.print()
    screen.print(_table(found))
    screen.print()
    screen.print(
        f"All of it in int8: error {found.error:.2g}, and it answers as in float on "
        f"{found.agreement:.1%} of {found.images} calibration images. An error is the mean square "
        "of how far the scores are off, as a share of their own variance.",
        soft_wrap=True,
    )


def _table(found: BlockProfile) -> Table:
    table = tables.plain_table(*_COLUMNS)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for each in found.blocks:
        table.add_row(
            printable(each.label),
            UNKNOWN if each.error is None else f"{each.error:.2g}",
            f"{each.float_ms:.3f}",
            f"{each.int8_ms:.3f}",
            f"{each.float_ms - each.int8_ms:+.3f}",
            f"{each.multiply_accumulates / 1e6:.1f}",
        )
    return table
