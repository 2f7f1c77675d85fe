"""Facts of model files: inspected once, then read from the store by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.keys import facts_lineage, variant_key
from trimtab.variants import ModelFacts, inspect_in_subprocess, inspection_engine
from trimtab_runtime.codec import decode, encode

#: Facts that this process was told, for its other stores.
_TOLD: dict[str, ModelFacts] = {}


def facts_of(store: Store, path: Path, size: tuple[int, int] | None, limit_s: float) -> ModelFacts:
    """:func:`variants.inspect_in_subprocess`, whose facts are kept by the file's content, the size
    that it was run with, and the version of the engine that ran it.

    A refusal is not kept: what was too slow or too large once may pass the next time.
    """
    place = _Place.of(path, size)
    found = None if place is None else store.get_variant(place.key)
    if found is not None:
        return decode(ModelFacts, found.recipe["facts"])
    told = None if place is None else _TOLD.get(place.key)
    facts = told or inspect_in_subprocess(path, size, limit_s)  # says what is wrong with it
    keep_facts(store, path, size, facts)
    return facts


def keep_facts(store: Store, path: Path, size: tuple[int, int] | None, facts: ModelFacts) -> None:
    """Facts that were told where the file was opened; :func:`facts_of` finds them from now on."""
    place = _Place.of(path, size)
    if place is None or facts.sha256 != place.sha256:  # the file was written meanwhile
        return
    _TOLD[place.key] = facts
    store.put_variant(
        VariantRecord(
            key=place.key,
            member=path.stem,
            name=path.name,
            format="facts",
            artefact_sha256=None,
            size_bytes=None,
            recipe={**place.lineage, "facts": encode(facts)},
            io={},
        )
    )


@dataclass(frozen=True)
class _Place:
    """Where the facts of a file lie in a store."""

    sha256: str
    lineage: dict[str, Any]
    key: str

    @classmethod
    def of(cls, path: Path, size: tuple[int, int] | None) -> _Place | None:
        """None where the file cannot be inspected."""
        engine = inspection_engine(path)
        if engine is None or not path.is_file():
            return None
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        lineage = facts_lineage(sha256, size, engine)
        return cls(sha256, lineage, variant_key(lineage))
