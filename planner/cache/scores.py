"""Errors of blocks that were quantised alone, kept in the store as soon as each is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.keys import io_of, score_lineage, variant_key
from trimtab.workloads import Item
from trimtab_runtime.definitions.plan import Variant


@dataclass(frozen=True)
class ScoreCache:
    """Answers a step that scores blocks of the float `variant` of a member on `images` (see
    variants.quantise_in_subprocess): what is known of a block, and what is to be kept of it."""

    store: Store
    variant: Variant
    member: str
    images: Sequence[Item]

    def __call__(self, asked: Mapping[str, Any]) -> Any:
        """`asked` names the block, and holds its `score` where that is to be kept. Raises
        StoreError."""
        said = {name: value for name, value in asked.items() if name != "score"}
        lineage = score_lineage(self.variant, self.images, said)
        if "score" not in asked:
            found = self.store.get_variant(variant_key(lineage))
            return None if found is None else found.recipe["score"]
        self.store.put_variant(
            VariantRecord(
                key=variant_key(lineage),
                member=self.member,
                name=f"{self.variant.name} block",
                format="score",
                artefact_sha256=None,
                size_bytes=None,
                recipe={**lineage, "score": asked["score"]},
                io=io_of(self.variant),
            )
        )
        return None
