"""Quantising in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.variants.execution import Work
from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.quantisation.registry import SCHEMES
from trimtab.variants.quantisation.sensitivity import (
    Block,
    BlockError,
    Int8Blocks,
    Score,
    Scores,
    block_errors_alone,
    int8_blocks,
)
from trimtab.variants.quantisation.static import QuantisationRecipe
from trimtab.variants.quantisation.suitability import NothingToGain
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.definitions.plan import Variant


def quantise_in_subprocess(
    scheme: str,
    source: Path,
    variant: Variant,
    images: Sequence[Path],
    out: Path,
    limit_s: float = STEP_S,
    waiting: Callable[[], None] | None = None,
    scores: Ask | None = None,
) -> dict[str, Any]:
    """Write `out`, the file `source` of `variant` quantised by a scheme of the registry, in
    another process; what the scheme gives beside. `waiting` is called about once a second;
    `scores` tells what is known of a block, or is told to keep it: {"nodes", "recipe",
    "images_shown"}, and then its "score" ({"error"}, None where it cannot be quantised).

    Raises what the scheme raises, and ModelError where a step of it takes more than `limit_s`,
    crashes, or takes more memory than it may.
    """
    work = quantisation_work(scheme, source, variant, images, out, limit_s)
    answering = scores or _unknown
    told = call(
        work.task, work.about, work.request, work.limits, answering=answering, waiting=waiting
    )
    return quantisation_details(told)


def quantisation_work(
    scheme: str,
    source: Path,
    variant: Variant,
    images: Sequence[Path],
    out: Path,
    limit_s: float = STEP_S,
) -> Work:
    """The same as a step for an executor; its answer is read by :func:`quantisation_details`."""
    images, source, out = [image.absolute() for image in images], source.absolute(), out.absolute()
    asked = {
        "scheme": scheme,
        "source": str(source),
        "variant": encode(variant),
        "images": [str(image) for image in images],
        "out": str(out),
    }
    limits = Limits(limit_s, memory_for(source))
    return Work(_quantise, variant.name, asked, ((source,), tuple(images)), out.parent, limits)


def quantisation_details(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a scheme gives beside the file. Raises NothingToGain."""
    if told["nothing"] is not None:
        raise NothingToGain(told["nothing"])
    return dict(told["beside"])


def block_errors_in_subprocess(
    source: Path,
    variant: Variant,
    images: Sequence[Path],
    limit_s: float = STEP_S,
    waiting: Callable[[], None] | None = None,
    scores: Ask | None = None,
) -> list[BlockError]:
    """:func:`variants.block_errors_alone` in another process; `waiting`, `scores` and errors as
    of :func:`quantise_in_subprocess`."""
    listed = [str(image.absolute()) for image in images]
    asked = [str(source.absolute()), encode(variant), listed]
    limits = Limits(limit_s, memory_for(source))
    answering = scores or _unknown
    told = call(_block_errors, variant.name, asked, limits, answering=answering, waiting=waiting)
    return decode(list[BlockError], told)


def int8_blocks_in_subprocess(
    source: Path,
    variant: Variant,
    images: Sequence[Path],
    folder: Path,
    limit_s: float = STEP_S,
    waiting: Callable[[], None] | None = None,
    scores: Ask | None = None,
) -> Int8Blocks:
    """:func:`variants.quantisation.sensitivity.int8_blocks` in another process; `waiting`,
    `scores` and errors as of :func:`quantise_in_subprocess`."""
    listed = [str(image.absolute()) for image in images]
    asked = [str(source.absolute()), encode(variant), listed, str(folder.absolute())]
    limits, answering = Limits(limit_s, memory_for(source)), scores or _unknown
    told = call(_int8_blocks, variant.name, asked, limits, answering=answering, waiting=waiting)
    return decode(Int8Blocks, told)


def _int8_blocks(request: Any, ask: Ask) -> Any:
    source, variant, images, folder = request
    files, known = [Path(image) for image in images], decode(Variant, variant)
    return encode(int8_blocks(Path(source), known, files, Path(folder), _AskedScores(ask)))


def _block_errors(request: Any, ask: Ask) -> Any:
    source, variant, images = request
    files = [Path(image) for image in images]
    scores = _AskedScores(ask)
    return encode(block_errors_alone(Path(source), decode(Variant, variant), files, scores=scores))


def _quantise(request: Any, ask: Ask) -> Any:
    scheme = SCHEMES[request["scheme"]]
    images = [Path(image) for image in request["images"]]
    variant = decode(Variant, request["variant"])
    source, out = Path(request["source"]), Path(request["out"])
    try:
        known = {"scores": _AskedScores(ask)} if scheme.scores else {}
        beside = scheme.make(source, variant, images, out, scheme.recipe, **known)
    except NothingToGain as reason:
        return {"nothing": str(reason)}
    return {"nothing": None, "beside": encode(dict(beside or {}))}


def _unknown(asked: Any) -> None:
    """Of no block anything is known, and nothing is kept."""


class _AskedScores(Scores):
    """The job knows them."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def known(self, block: Block, recipe: QuantisationRecipe, images: int) -> Score | None:
        found = self._ask(_about(block, recipe, images))
        return None if found is None else decode(Score, found)

    def keep(self, block: Block, recipe: QuantisationRecipe, images: int, score: Score) -> None:
        self._ask({**_about(block, recipe, images), "score": encode(score)})


def _about(block: Block, recipe: QuantisationRecipe, images: int) -> dict[str, Any]:
    return {"nodes": list(block.nodes), "recipe": encode(recipe), "images_shown": images}
