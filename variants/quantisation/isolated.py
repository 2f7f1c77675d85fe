"""Quantising in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.quantisation.registry import SCHEMES
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
) -> Path:
    """Write `out`, the file `source` of `variant` quantised by a scheme of the registry, in
    another process. `waiting` is called about once a second meanwhile.

    Raises what the scheme raises, and ModelError where a step of it takes more than `limit_s`,
    crashes, or takes more memory than it may.
    """
    asked = {
        "scheme": scheme,
        "source": str(source.absolute()),
        "variant": encode(variant),
        "images": [str(image.absolute()) for image in images],
        "out": str(out.absolute()),
    }
    limits = Limits(limit_s, memory_for(source))
    call(_quantise, variant.name, asked, limits, waiting=waiting)
    return out


def _quantise(request: Any, ask: Ask) -> None:
    scheme = SCHEMES[request["scheme"]]
    images = [Path(image) for image in request["images"]]
    variant = decode(Variant, request["variant"])
    scheme.make(Path(request["source"]), variant, images, Path(request["out"]), scheme.recipe)
