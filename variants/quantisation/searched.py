"""w8a8 with its recipe searched: how the ranges of activations are found, whether they are
symmetric, and whether the first and last layer stay float.

Each recipe is calibrated on one half of the images, and compared with the float network on the
other, without labels: a range that ends where the images it was taken from end would look right on
those. The best is then calibrated on all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from trimtab.variants.files import watchdog
from trimtab.variants.files.base import Array
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.quantisation.sensitivity import (
    SHOWN,
    Floats,
    agreement,
    answer_error,
    answers,
)
from trimtab.variants.quantisation.static import QuantisationRecipe, StaticQuantiser
from trimtab.variants.quantisation.suitability import NothingToGain
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError

_DEFAULT = "minmax"
#: What is tried beside the base, by name.
_TRIED: Mapping[str, Mapping[str, Any]] = {
    "percentile 99.99": {"method": "percentile", "percentile": 99.99},
    "percentile 99.9": {"method": "percentile", "percentile": 99.9},
    "symmetric minmax": {"symmetric": True},
}
_ENDS: Mapping[str, Any] = {"float_first": 1, "float_last": 1}


@dataclass(frozen=True)
class SearchedRecipe:
    """How the recipe is searched, from that of w8a8 (`base`) on; part of a variant's lineage. Of
    `gain` of the error of w8a8 or more, w8a8 is kept; first and last layers stay float where
    that leaves less than `ends` of the error of the best without. An error of `enough` is fine."""

    base: QuantisationRecipe = field(default_factory=QuantisationRecipe)
    gain: float = 0.8
    ends: float = 0.5
    enough: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.gain <= 1 or not 0 < self.ends <= 1 or self.enough < 0:
            raise ValueError("0 < gain <= 1, 0 < ends <= 1, enough >= 0 must hold")


def quantise_searched(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    out: Path,
    recipe: SearchedRecipe | None = None,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Quantise the float ONNX file `source` of `variant` into `out` by the best of some recipes;
    the same input gives the same bytes on the same version of onnxruntime and the same
    instruction set.

    Tells of the search: the name `chosen`, the errors of what was `tried` (by name; answers of
    the second half of the images), `error` and `agreement` of the chosen, and the agreement of
    w8a8. Raises NothingToGain where w8a8 is as good, and what :class:`StaticQuantiser` raises;
    ModelError for fewer than 4 images.
    """
    recipe, source, out = recipe or SearchedRecipe(), Path(source), Path(out)
    if len(images) < 4:
        raise ModelError(
            f"{variant.name}: to compare recipes takes at least 4 images, got {len(images)}"
        )
    trial = _Trials(source, variant, images, seed)
    first = trial.error(_DEFAULT, recipe.base)
    if first <= recipe.enough:
        raise NothingToGain(
            f"{variant.name}: w8a8 keeps the answers already (its error is {first:.2g} of their "
            f"variance, {recipe.enough:g} is tolerated)"
        )
    recipes = {_DEFAULT: recipe.base}
    recipes |= {name: replace(recipe.base, **changes) for name, changes in _TRIED.items()}
    best = min(recipes, key=lambda name: trial.error(name, recipes[name]))
    ends = f"{best}, first and last layer in float"
    recipes[ends] = replace(recipes[best], **_ENDS)
    if trial.error(ends, recipes[ends]) < recipe.ends * trial.error(best, recipes[best]):
        best = ends
    if trial.errors[best] > recipe.gain * first:
        raise NothingToGain(
            f"{variant.name}: no recipe that was tried is much better than that of w8a8 (error "
            f"{trial.errors[best]:.2g} by {best}, {first:.2g} by {_DEFAULT})"
        )
    with StaticQuantiser(source, variant, images, recipes[best], seed) as quantiser:
        model = quantiser.quantised()
    strip_notes(model)
    write_model(model, out)
    return {
        "chosen": best,
        "tried": dict(trial.errors),
        "error": trial.errors[best],
        "agreement": trial.agreements[best],
        "w8a8_agreement": trial.agreements[_DEFAULT],
    }


class _Trials:
    """Errors of recipes, each found once; infinite for one that cannot be made."""

    def __init__(self, source: Path, variant: Variant, images: Sequence[Any], seed: int) -> None:
        self._source, self._variant, self._seed = source, variant, seed
        self._calibration, others = images[::2], images[1::2]
        self._shown: list[Array] = []
        with StaticQuantiser(source, variant, others, QuantisationRecipe(), seed) as quantiser:
            self._shown = list(islice(quantiser.tensors(), SHOWN))
            self._right: Floats = answers(quantiser.plain, self._shown)
        self.errors: dict[str, float] = {}
        self.agreements: dict[str, float] = {}

    def error(self, name: str, recipe: QuantisationRecipe) -> float:
        if name in self.errors:
            return self.errors[name]
        watchdog.step()
        try:
            with StaticQuantiser(
                self._source, self._variant, self._calibration, recipe, self._seed
            ) as quantiser:
                found = answers(quantiser.quantised(), self._shown)
        except ModelError:
            if not self.errors:  # the one that the others are compared with
                raise
            self.errors[name], self.agreements[name] = math.inf, 0.0
            return math.inf
        self.errors[name] = answer_error(found, self._right)
        self.agreements[name] = agreement(found, self._right)
        return self.errors[name]
