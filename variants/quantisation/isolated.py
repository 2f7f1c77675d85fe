"""Quantising in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.variants.execution import Work
from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.quantisation.registry import SCHEMES
from trimtab.variants.quantisation.sensitivity import BlockError, block_errors_alone
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
) -> dict[str, Any]:
    """Write `out`, the file `source` of `variant` quantised by a scheme of the registry, in
    another process; what the scheme gives beside. `waiting` is called about once a second.

    Raises what the scheme raises, and ModelError where a step of it takes more than `limit_s`,
    crashes, or takes more memory than it may.
    """
    work = quantisation_work(scheme, source, variant, images, out, limit_s)
    told = call(work.task, work.about, work.request, work.limits, waiting=waiting)
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
) -> list[BlockError]:
    """:func:`variants.block_errors_alone` in another process; `waiting` and errors as of
    :func:`quantise_in_subprocess`."""
    listed = [str(image.absolute()) for image in images]
    asked = [str(source.absolute()), encode(variant), listed]
    limits = Limits(limit_s, memory_for(source))
    told = call(_block_errors, variant.name, asked, limits, waiting=waiting)
    return decode(list[BlockError], told)


def _block_errors(request: Any, ask: Ask) -> Any:
    source, variant, images = request
    found = block_errors_alone(Path(source), decode(Variant, variant), [Path(i) for i in images])
    return encode(found)


def _quantise(request: Any, ask: Ask) -> Any:
    scheme = SCHEMES[request["scheme"]]
    images = [Path(image) for image in request["images"]]
    variant = decode(Variant, request["variant"])
    source, out = Path(request["source"]), Path(request["out"])
    try:
        beside = scheme.make(source, variant, images, out, scheme.recipe)
    except NothingToGain as reason:
        return {"nothing": str(reason)}
    return {"nothing": None, "beside": encode(dict(beside or {}))}
