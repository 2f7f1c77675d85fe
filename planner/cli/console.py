"""What every command needs: the store, and where to print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from trimtab.planner.jobs.store_location import StoreLocation
from trimtab.planner.reports.text import printable

_PIPE_WIDTH = 140  # columns of a table that goes into a file or a pipe


def surroundings(context: typer.Context) -> StoreLocation:
    """Those of the command line that runs."""
    found = context.obj
    assert isinstance(found, StoreLocation)
    return found


class _Literal(Console):
    """Whatever it prints has no codes in it but its own."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)  # so that its width is known

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(stream: TextIO | None = None) -> Console:
    """A console that takes texts literally: names and reasons are the user's, and no markup; what
    a terminal would obey is shown as what it is."""
    file = stream or sys.stdout
    wide = None if file.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return _Literal(
        file=file, markup=False, emoji=False, highlight=False, width=wide, soft_wrap=False
    )
