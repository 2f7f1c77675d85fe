"""`trimtab init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trimtab.planner.cli.console import console
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import SpecificationError


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

    if not folder.is_dir():
        raise SpecificationError(f"{folder}: there is no such folder")
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
