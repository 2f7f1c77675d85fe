"""Facts of model files: inspected once, then read from the store by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

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
    engine = inspection_engine(path)
    if engine is None or not path.is_file():
        return inspect_in_subprocess(path, size, limit_s)  # says what is wrong with it
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    lineage = facts_lineage(sha256, size, engine)
    key = variant_key(lineage)
    found = store.get_variant(key)
    if found is not None:
        return decode(ModelFacts, found.recipe["facts"])
    facts = _TOLD.get(key) or inspect_in_subprocess(path, size, limit_s)
    if facts.sha256 == sha256:  # else the file was written meanwhile
        _TOLD[key] = facts
        store.put_variant(
            VariantRecord(
                key=key,
                member=path.stem,
                name=path.name,
                format="facts",
                artefact_sha256=None,
                size_bytes=None,
                recipe={**lineage, "facts": encode(facts)},
                io={},
            )
        )
    return facts
