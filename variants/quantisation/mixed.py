"""Mixed precision: w8a8, with the blocks in float that quantisation hurts most.

Every block is quantised alone, and its error of the answers taken on the calibration images,
without labels. Errors of blocks nearly add up (the answers' mean square error is a sum over
independent roundings), so that an integer programme finds the blocks with the least arithmetic
that must stay float for an error that is tolerated. What is built is measured, and the bound is
tightened where the sum promised too much. (Both blocks beside a tensor that cannot be quantised
stay float: giving one of them back brings the error back, since int8 layers write bytes.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from trimtab.variants.files.base import Array
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.quantisation.sensitivity import (
    BlockError,
    Floats,
    agreement,
    answer_error,
    answers,
    block_errors,
    blocks_of,
)
from trimtab.variants.quantisation.static import QuantisationRecipe, StaticQuantiser
from trimtab.variants.quantisation.suitability import NothingToGain
from trimtab_runtime.definitions.plan import Variant

if TYPE_CHECKING:
    import onnx

_TRIES, _TIGHTENED = 4, 0.6


@dataclass(frozen=True)
class MixedRecipe:
    """How a mixed variant is made; part of its lineage. At most `blocks` blocks are told apart.
    As many stay float as it takes for an error of the answers that is `tolerated` (a share of
    their variance, see :func:`answer_error`)."""

    base: QuantisationRecipe = field(default_factory=QuantisationRecipe)
    blocks: int = 24
    tolerated: float = 0.005

    def __post_init__(self) -> None:
        if self.blocks < 2 or self.tolerated <= 0:
            raise ValueError("blocks >= 2, tolerated > 0 must hold")


@dataclass(frozen=True)
class Built:
    """A quantised graph, the blocks `kept` float in it, and its answers (images, classes)."""

    model: onnx.ModelProto
    kept: Sequence[BlockError]
    answers: Floats


def quantise_mixed(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    out: Path,
    recipe: MixedRecipe | None = None,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Quantise the float ONNX file `source` of `variant` into `out`; the same input gives the
    same bytes on the same version of onnxruntime and the same instruction set.

    Tells of what it made: `float_blocks` (labels, with the `error` that each has when it alone is
    quantised), `error` and `agreement` with the float answers on the calibration images, and both
    of w8a8 beside. Raises NothingToGain where w8a8 is within what is tolerated, or where all
    would have to stay float; else what :class:`StaticQuantiser` raises.
    """
    recipe, source, out = recipe or MixedRecipe(), Path(source), Path(out)
    with StaticQuantiser(source, variant, images, recipe.base, seed) as quantiser:
        shown = list(quantiser.tensors())
        right = answers(quantiser.plain, shown)
        whole = answers(quantiser.quantised(), shown)
        error = answer_error(whole, right)
        if error <= recipe.tolerated:
            raise NothingToGain(
                f"{variant.name}: w8a8 keeps the answers already (its error is {error:.2g} of "
                f"their variance, {recipe.tolerated:g} is tolerated)"
            )
        scored = block_errors(quantiser, blocks_of(quantiser.plain, recipe.blocks), shown, right)
        found = _built(quantiser, scored, recipe.tolerated, shown, right, variant.name)
    strip_notes(found.model)
    write_model(found.model, out)
    return {
        "float_blocks": {each.block.label: each.error for each in found.kept},
        "error": answer_error(found.answers, right),
        "agreement": agreement(found.answers, right),
        "w8a8_error": error,
        "w8a8_agreement": agreement(whole, right),
    }


def _built(
    quantiser: StaticQuantiser,
    scored: Sequence[BlockError],
    bound: float,
    shown: Sequence[Array],
    right: Floats,
    name: str,
) -> Built:
    """The quantised graph with the least arithmetic in float whose error is within the bound."""
    limit = bound
    for _ in range(_TRIES):
        kept = kept_float(scored, limit)
        if len(kept) == len(scored):
            break
        model = quantiser.quantised([node for each in kept for node in each.block.nodes])
        found = answers(model, shown)
        if answer_error(found, right) <= bound:
            return Built(model, kept, found)
        limit *= _TIGHTENED
    raise NothingToGain(
        f"{name}: nearly every block of it must stay float for an error of {bound:.2g} of the "
        "answers' variance"
    )


def kept_float(scored: Sequence[BlockError], bound: float) -> list[BlockError]:
    """The blocks with the least multiply-accumulates without which the errors of the others add
    up to at most `bound`."""
    errors = np.array([each.error for each in scored])
    work = np.array([each.block.multiply_accumulates for each in scored], float)
    cost = work / max(work.sum(), 1.0) + 1e-4  # blocks without arithmetic are not for nothing
    enough = LinearConstraint(errors[None], lb=errors.sum() - bound)
    solved = milp(cost, integrality=np.ones(len(scored)), bounds=Bounds(0, 1), constraints=enough)
    if solved.x is None:  # a limit below what rounding of the sum allows
        return list(scored)
    return [each for each, chosen in zip(scored, solved.x > 0.5, strict=True) if chosen]
