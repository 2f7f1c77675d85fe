"""`trimtab layers`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.devices import meet
from trimtab.planner.cli.commands.front import FrontFormat
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.cli.int8_blocks import show_blocks
from trimtab.planner.reports.text import UNKNOWN, number, printable
from trimtab_runtime.errors import StoreError

if TYPE_CHECKING:
    from rich.table import Table

    from trimtab.planner.reports.layer_profile import LayerProfile, NodeTime, OperatorTime


class By(StrEnum):
    operator = "operator"
    node = "node"


def layers(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="An ONNX or TFLite file, float or quantised."
        ),
    ],
    by: Annotated[
        By, typer.Option("--by", help="One row per operator, or per node.")
    ] = By.operator,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the slowest N rows.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads per inference.")] = 1,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Number of timed inferences.")] = 50,
    size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Height and width of the image, if the model has a dynamic input size."
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Show what int8 does to each block: its error and its time. The model must be a "
            "member of a job in the store.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="local, or ssh://user@host.")] = "local",
    output: Annotated[
        FrontFormat, typer.Option("--format", help="table, json or csv.")
    ] = FrontFormat.table,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot to this .png file instead.")
    ] = None,
) -> None:
    """Show where a model's time goes on the device, by operator or by node, and the share of
    operators without weights."""
    from trimtab.planner.reports.layers import profile_layers
    from trimtab.profilers import connect
    from trimtab_runtime.definitions.plan import RuntimeOptions

    if plot is not None and plot.suffix.lower() != ".png":
        raise typer.BadParameter(f"--plot must name a .png file, got {plot}")
    options = RuntimeOptions("onnxruntime", threads=threads)
    square = None if size is None else (size, size)
    meet(device)
    if int8:
        here = surroundings(context).nearest()
        if not here.exists:
            raise StoreError(
                f"there is no store at {here.shown}: --int8 looks at members of a job; run "
                "`trimtab plan` for one first"
            )
        if by is not By.operator or top is not None or size is not None:
            raise typer.BadParameter(
                "--by, --top and --size say nothing of blocks: leave them out"
            )
        with here.writing() as store, connect(device) as place:
            show_blocks(store, place, model, options, runs, output.value, plot)
        return
    with connect(device) as place:
        found = profile_layers(place, model, options, runs, square)
    for text in found.warnings:
        print(f"warning: {printable(text)}", file=sys.stderr)
    if plot is not None:
        from trimtab.planner.reports.plots.layers import write_layers

        console().print(f"Wrote {write_layers(found, plot)}", soft_wrap=True)
    elif output is FrontFormat.json:
        typer.echo(tables.json_text(found.plain()))
    elif output is FrontFormat.csv:
        typer.echo(_csv_text(found, by, top), nl=False)
    else:
        _print_profile(found, by, top)


def _slowest(found: LayerProfile, top: int | None) -> list[NodeTime]:
    """In the order in which they run."""
    kept = sorted(range(len(found.nodes)), key=lambda i: -found.nodes[i].share)[:top]
    return [found.nodes[index] for index in sorted(kept)]


def _csv_text(found: LayerProfile, by: By, top: int | None) -> str:
    """One level of names and values; unknown is empty."""
    from trimtab.planner.reports.layer_profile import originals_text

    rows: list[dict[str, Any]] = []
    shown = found.operators[:top] if by is By.operator else _slowest(found, top)
    for each in shown:
        row = dict(vars(each))
        if row.pop("originals", None) is not None:
            row["originals"] = originals_text(each)  # type: ignore[arg-type]  # only nodes have some
        rows.append(row)
    return tables.written(rows, list(rows[0]))


def _print_profile(found: LayerProfile, by: By, top: int | None) -> None:
    screen = console()
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    screen.print(
        f"{printable(found.model)} on {found.device}, {found.engine}, {threads}: "
        f"{number(found.median_ms)} ms a run (median of {found.runs})",
        soft_wrap=True,
    )
    screen.print()
    screen.print(_operator_table(found, top) if by is By.operator else _node_table(found, top))
    screen.print()
    for line in _notes(found):
        screen.print(line, soft_wrap=True)


def _operator_table(found: LayerProfile, top: int | None) -> Table:
    table = tables.plain_table("operator", "weights", "nodes", "ms", "share", "MMAC", "GMAC/s")
    _right(table, range(2, 7))
    shown = found.operators[:top]
    for each in shown:
        weights = "yes" if each.weights else "no"
        table.add_row(
            printable(each.operator), weights, str(each.nodes), *_figures(each), _rate(each)
        )
    left = len(found.operators) - len(shown)
    _add_rest(table, found, [each.share for each in shown], left, 2)
    return table


def _node_table(found: LayerProfile, top: int | None) -> Table:
    from trimtab.planner.reports.layer_profile import originals_text

    table = tables.plain_table(
        "node", "operator", "computes", "output", "ms", "share", "MMAC", "GMAC/s"
    )
    _right(table, range(4, 8))
    shown = _slowest(found, top)
    for each in shown:
        told = originals_text(each) or UNKNOWN
        cells = map(printable, (each.name, each.operator, told, each.shape))
        table.add_row(*cells, *_figures(each), _rate(each))
    left = len(found.nodes) - len(shown)
    _add_rest(table, found, [each.share for each in shown], left, 3)
    return table


def _right(table: Table, columns: Sequence[int]) -> None:
    for column in columns:
        table.columns[column].justify = "right"
        table.columns[column].no_wrap = True


def _figures(each: OperatorTime | NodeTime) -> tuple[str, str, str]:
    count = each.multiply_accumulates
    millions = UNKNOWN if count is None else f"{count / 1e6:.1f}" if count else ""
    return f"{each.median_ms:.3f}", f"{each.share:.1%}", millions


def _rate(each: OperatorTime | NodeTime) -> str:
    """Thousand million multiply-accumulates a second."""
    if not each.multiply_accumulates or not each.median_ms:
        return ""
    return f"{each.multiply_accumulates / each.median_ms / 1e6:.1f}"


def _add_rest(
    table: Table, found: LayerProfile, shares: Sequence[float], left: int, empty: int
) -> None:
    """What --top left out, in one line: of so many, behind so many empty cells."""
    if left:
        share = 1 - sum(shares)
        ms = f"{share * found.median_ms:.3f}"
        table.add_row(f"{left} others", *[""] * empty, ms, f"{share:.1%}")


def _notes(found: LayerProfile) -> list[str]:
    without = [each for each in found.operators if not each.weights]
    parts = ", ".join(f"{printable(e.operator)} {e.share:.1%}" for e in without[:4])
    others = f", {len(without) - 4} others" if len(without) > 4 else ""
    listed = f" ({parts}{others})" if parts else ""
    how = (
        f"A run takes {number(found.profiled_median_ms)} ms with the profiler "
        f"({found.profiler_adds:+.1%}); times are scaled to runs without it."
    )
    if found.measured == "alone":
        how = (
            "LiteRT has no profiler for Python: each operator ran alone, which takes "
            f"{number(found.profiled_median_ms)} ms together ({found.profiler_adds:+.1%}); times "
            "are scaled to whole runs."
        )
    return [
        f"Operators without weights take {found.share_without_weights:.1%} of the time{listed}.",
        how,
    ]
