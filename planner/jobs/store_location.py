"""Where the store lies, and how it is opened."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.db import Store, shown
from trimtab_runtime.errors import StoreError

DEFAULT_STORE = "trimtab-store/trimtab.db"
#: Environment variables that say where the store and its artefacts lie.
STORE, ARTEFACTS = "TRIMTAB_STORE", "TRIMTAB_ARTEFACTS"


@dataclass(frozen=True)
class StoreLocation:
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
                    f"no store can be created at {self.store} ({error.strerror}); choose "
                    "another place with --store"
                ) from error
        with Store.open(self.store, self.artefacts) as store:
            yield store

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """The store as it is, read-only. StoreError where there is none."""
        if not self.exists:
            raise StoreError(
                f"there is no store at {self.store}; `trimtab plan job.yaml` creates one, and "
                "`trimtab --store PATH ...` selects another"
            )
        with Store.open(self.store, self.artefacts, read_only=True) as store:
            yield store

    @property
    def exists(self) -> bool:
        """Whether there is a store; a URL is believed."""
        return self._is_url or Path(self.store).expanduser().is_file()

    @property
    def file(self) -> Path | None:
        """The SQLite file that a path names; None for a URL."""
        return None if self._is_url else Path(self.store).expanduser()

    @property
    def shown(self) -> str:
        """Where it lies, for people: without the password of a URL."""
        return shown(self.store) if self._is_url else _absolute(self.store)

    @property
    def _is_url(self) -> bool:
        return "://" in self.store

    def environment(self) -> dict[str, str]:
        """As environment variables for another process: its arguments everybody can read."""
        found = {STORE: self.store if self._is_url else _absolute(self.store)}
        if self.artefacts is not None:
            found[ARTEFACTS] = _absolute(self.artefacts)
        return found

    @staticmethod
    def from_environment() -> StoreLocation:
        """What :meth:`environment` gave, or a user did."""
        files = os.environ.get(ARTEFACTS)
        store = os.environ.get(STORE) or DEFAULT_STORE
        return StoreLocation(store, Path(files) if files else None)

    @property
    def command(self) -> str:
        """How to call trimtab again with the same store; a password in its URL is left to whoever
        knows it."""
        words = ["trimtab"]
        if os.environ.get(STORE, DEFAULT_STORE) != self.store:
            words += ["--store", shown(self.store)]
        if self.artefacts and os.environ.get(ARTEFACTS) != str(self.artefacts):
            words += ["--artefacts", str(self.artefacts)]
        return shlex.join(words)


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())
