"""What every command needs: the store, and where to print."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import typer
from rich.console import Console

from db import Store
from trimtab_runtime.errors import StoreError

DEFAULT_STORE = "trimtab-store/trimtab.db"
_PIPE_WIDTH = 140  # columns of a table that goes into a file or a pipe


@dataclass(frozen=True)
class Surroundings:
    """The options that stand before the command."""

    store: str
    artefacts: Path | None

    @contextmanager
    def writing(self) -> Iterator[Store]:
        """The store, made where there is none."""
        if not self._is_url:
            try:
                Path(self.store).expanduser().absolute().parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"no store can be made at {self.store} ({error.strerror}); name another "
                    "place with --store"
                ) from error
        with Store.open(self.store, self.artefacts) as store:
            yield store

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """The store as it is, read-only. StoreError where there is none."""
        if not self.exists:
            raise StoreError(
                f"there is no store at {self.store}; `trimtab plan job.yaml` makes one, and "
                "`trimtab --store PATH ...` names another"
            )
        with Store.open(self.store, self.artefacts, read_only=True) as store:
            yield store

    @property
    def exists(self) -> bool:
        """Whether there is a store; a URL is believed."""
        return self._is_url or Path(self.store).expanduser().is_file()

    @property
    def _is_url(self) -> bool:
        return "://" in self.store

    @property
    def command(self) -> str:
        """How to call trimtab again with the same store."""
        words = ["trimtab"]
        if os.environ.get("TRIMTAB_STORE", DEFAULT_STORE) != self.store:
            words += ["--store", self.store]
        if self.artefacts and os.environ.get("TRIMTAB_ARTEFACTS") != str(self.artefacts):
            words += ["--artefacts", str(self.artefacts)]
        return shlex.join(words)


def surroundings(context: typer.Context) -> Surroundings:
    """Those of the command line that runs."""
    found = context.obj
    assert isinstance(found, Surroundings)
    return found


def console(stream: TextIO | None = None) -> Console:
    """A console that takes texts literally: names and reasons are the user's, and no markup."""
    file = stream or sys.stdout
    wide = None if file.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(
        file=file, markup=False, emoji=False, highlight=False, width=wide, soft_wrap=False
    )
