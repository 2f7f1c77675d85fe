"""Blocks that slimming has learned, kept in the store."""

from __future__ import annotations

from typing import Any

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.keys import io_of
from trimtab.planner.cache.variants import StoredVariant
from trimtab_runtime.errors import StoreError


class BlockCache:
    """trimtab.variants.slimming.Cache for one member. Raises StoreError where the store cannot be
    used."""

    def __init__(self, store: Store, member: StoredVariant) -> None:
        self._store, self._member = store, member

    def get(self, key: str) -> bytes | None:
        found = self._store.get_variant(key)
        if found is None or found.artefact_sha256 is None:
            return None
        try:
            return self._store.artefacts.path(found.artefact_sha256).read_bytes()
        except StoreError:
            return None  # lost or damaged: learned anew

    def put(self, key: str, value: bytes) -> None:
        name = f"{self._member.variant.name} learned"
        artefact = self._store.save_bytes(value, kind="learned", name=name)
        recipe: dict[str, Any] = {"step": "learned", "parent": self._member.key}
        record = VariantRecord(
            key=key,
            member=self._member.member,
            name=name,
            format="learned",
            artefact_sha256=artefact.sha256,
            size_bytes=artefact.size_bytes,
            recipe=recipe,
            io=io_of(self._member.variant),
        )
        self._store.put_variant(record, replace=True)
