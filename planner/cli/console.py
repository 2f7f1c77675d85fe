"""What every command needs: the store, and where to print."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import typer
from rich.console import Console

from trimtab.planner.jobs.store_location import StoreLocation

_PIPE_WIDTH = 140  # columns of a table that goes into a file or a pipe


def surroundings(context: typer.Context) -> StoreLocation:
    """Those of the command line that runs."""
    found = context.obj
    assert isinstance(found, StoreLocation)
    return found


def console(stream: TextIO | None = None) -> Console:
    """A console that takes texts literally: names and reasons are the user's, and no markup."""
    file = stream or sys.stdout
    wide = None if file.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(
        file=file, markup=False, emoji=False, highlight=False, width=wide, soft_wrap=False
    )
