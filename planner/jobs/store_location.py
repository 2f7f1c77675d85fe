"""Where the store lies, and how it is opened."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab.db import Store, shown
from trimtab_runtime.errors import StoreError

#: Where a store lies that nobody placed: beside its job.
DEFAULT_STORE = "trimtab-store/trimtab.db"
#: Environment variables that say where the store and its artefacts lie.
STORE, ARTEFACTS = "TRIMTAB_STORE", "TRIMTAB_ARTEFACTS"


@dataclass(frozen=True)
class StoreLocation:
    """The options that stand before the command."""

    store: str
    artefacts: Path | None

    def beside(self, job: Path) -> StoreLocation:
        """For the job of this specification: where nothing was said, the store beside it; one in
        the working folder, as earlier versions made them, where only that is there."""
        place = job.parent / DEFAULT_STORE
        if self.store != DEFAULT_STORE or (self.exists and not place.is_file()):
            return self
        return replace(self, store=str(place))

    def nearest(self) -> StoreLocation:
        """Where nothing was said and there is no store here: that of the nearest folder above."""
        if self.store != DEFAULT_STORE or self.exists:
            return self
        places = (folder / DEFAULT_STORE for folder in Path.cwd().parents)
        found = next((place for place in places if place.is_file()), None)
        return self if found is None else replace(self, store=str(found))

    @property
    def shown(self) -> str:
        """The store for people: an absolute path, or a URL without its password."""
        return shown(self.store) if self._is_url else _absolute(self.store)

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
        """The store as it is, read-only; by default the nearest. StoreError where there is
        none."""
        found = self.nearest()
        if not found.exists:
            raise StoreError(
                f"there is no store at {self.store}; `trimtab plan job.yaml` creates one beside "
                "its job, and `trimtab --store PATH ...` selects another"
            )
        with Store.open(found.store, self.artefacts, read_only=True) as store:
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
