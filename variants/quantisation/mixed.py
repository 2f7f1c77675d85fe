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
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from trimtab.variants.files import watchdog
from trimtab.variants.files.base import Array
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.quantisation.sensitivity import (
    BLOCKS,
    SHOWN,
    BlockError,
    Floats,
    Scores,
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
    """How a mixed variant is made; part of its lineage. At most `blocks` blocks are told apart, on
    `max_images` images. As many stay float as it takes to bring the error of the answers
    (:func:`answer_error`) down to `share` of that of w8a8, but no further than `least` and at
    least to `most`."""

    base: QuantisationRecipe = field(default_factory=QuantisationRecipe)
    blocks: int = BLOCKS
    max_images: int = SHOWN
    share: float = 0.2
    least: float = 0.005
    most: float = 0.02

    def __post_init__(self) -> None:
        if self.blocks < 2 or self.max_images < 1:
            raise ValueError("blocks >= 2, max_images >= 1 must hold")
        if not 0 < self.share < 1 or not 0 < self.least <= self.most:
            raise ValueError("0 < share < 1, 0 < least <= most must hold")

    def bound(self, error: float) -> float:
        """The error that is aimed at where w8a8 has `error`."""
        return min(max(self.share * error, self.least), self.most)


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
    scores: Scores | None = None,
) -> Mapping[str, Any]:
    """Quantise the float ONNX file `source` of `variant` into `out`; the same input gives the
    same bytes on the same version of onnxruntime and the same instruction set. Blocks whose
    `scores` are known are not scored again.

    Tells of what it made: `float_blocks` (labels, with the `error` that each has when it alone is
    quantised), `error` and `agreement` with the float answers on the calibration images, and both
    of w8a8 beside. Raises NothingToGain where w8a8 is within what is tolerated, or where all
    would have to stay float; else what :class:`StaticQuantiser` raises.
    """
    recipe, source, out = recipe or MixedRecipe(), Path(source), Path(out)
    with StaticQuantiser(source, variant, images, recipe.base, seed) as quantiser:
        shown = list(islice(quantiser.tensors(), recipe.max_images))
        right = answers(quantiser.plain, shown)
        whole = answers(quantiser.quantised(), shown)
        error = answer_error(whole, right)
        if error <= recipe.least:
            raise NothingToGain(
                f"{variant.name}: w8a8 keeps the answers already (its error is {error:.2g} of "
                f"their variance, {recipe.least:g} is tolerated)"
            )
        blocks = blocks_of(quantiser.plain, recipe.blocks)
        scored = block_errors(quantiser, blocks, shown, right, scores or Scores())
        found = _built(quantiser, scored, recipe.bound(error), shown, right, variant.name)
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
        watchdog.step()
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
