"""The quantisation schemes. A new one is a module beside this one, and an entry below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.variants.inspection.facts import ModelFacts
from trimtab.variants.quantisation.suitability import Suitability, quantisable
from trimtab.variants.quantisation.w8a8 import QuantisationRecipe, quantise_w8a8
from trimtab_runtime.definitions.plan import Variant


@dataclass(frozen=True)
class Scheme:
    """`suits` says whether it applies to a model, `make` writes the quantised file: of a source
    file that is a variant, with images to calibrate on, to a target, by a recipe (raises
    ModelError). `recipe` is the one that is used; it is part of a variant's lineage.

    `multiplies` names what its products multiply, for the predictors of latency ('bytes').
    """

    suits: Callable[[ModelFacts], Suitability]
    make: Callable[[Path, Variant, Sequence[Path], Path, Any], Path]
    recipe: Any
    multiplies: tuple[str, ...]


SCHEMES: Mapping[str, Scheme] = {
    "w8a8": Scheme(quantisable, quantise_w8a8, QuantisationRecipe(), ("bytes",)),
}
