"""The quantisation schemes. A new one is a module beside this one, and an entry below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.variants.inspection.facts import ModelFacts
from trimtab.variants.quantisation.dynamic import (
    DynamicRecipe,
    has_matrix_products,
    quantise_dynamic,
)
from trimtab.variants.quantisation.mixed import MixedRecipe, quantise_mixed
from trimtab.variants.quantisation.searched import SearchedRecipe, quantise_searched
from trimtab.variants.quantisation.static import QuantisationRecipe
from trimtab.variants.quantisation.suitability import Suitability, quantisable
from trimtab.variants.quantisation.w8a8 import quantise_w8a8

#: Instructions that add up products of bytes without saturating on the way.
_WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@dataclass(frozen=True)
class Scheme:
    """`suits` says whether it applies to a model, `make` writes the quantised file: of a source
    file that is a variant, with images to calibrate on, to a target, by a recipe (raises
    ModelError; NothingToGain where there is no such variant). What it gives beside the file, if
    anything, is kept with the variant. `recipe` is the one that is used; it is part of a
    variant's lineage.

    `multiplies` names what its products multiply, for the predictors of latency ('bytes'). A
    device must have one of the instructions that it `needs` (as its fingerprint names them),
    where there are any. Where it `scores` blocks, `make` takes what is known of them too.
    """

    suits: Callable[[ModelFacts], Suitability]
    make: Callable[..., Mapping[str, Any] | None]
    recipe: Any
    multiplies: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    scores: bool = False

    def runs_on(self, instructions: str) -> bool:
        """Whether a device with these `instructions` (its fingerprint's 'isa') is one for it."""
        return not self.needs or not self.needs.isdisjoint(instructions.split())


def _w8a8(*given: Any) -> None:
    quantise_w8a8(*given)


SCHEMES: Mapping[str, Scheme] = {
    "w8a8": Scheme(quantisable, _w8a8, QuantisationRecipe(), ("bytes",)),
    "w8a8-full": Scheme(
        quantisable, _w8a8, QuantisationRecipe(reduce_range=False), ("bytes",), _WIDE_SUMS
    ),
    "w8a8-mixed": Scheme(quantisable, quantise_mixed, MixedRecipe(), ("bytes",), scores=True),
    "w8a8-searched": Scheme(quantisable, quantise_searched, SearchedRecipe(), ("bytes",)),
    "w8": Scheme(has_matrix_products, quantise_dynamic, DynamicRecipe(), ("bytes",)),
}
