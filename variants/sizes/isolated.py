"""Making networks for other sizes in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.sizes.resizing import Size, SizeTrial, try_sizes, write_resized
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.definitions.plan import Variant


def sizes_in_subprocess(
    source: Path, variant: Variant, listed: Sequence[Size] | None, limit_s: float = STEP_S
) -> list[SizeTrial]:
    """:func:`try_sizes` in another process, where a step has `limit_s` seconds.

    Raises ModelError where a step takes too long, crashes, or takes more memory than it may.
    """
    sizes = None if listed is None else [list(size) for size in listed]
    asked, limits = (
        [str(source.absolute()), encode(variant), sizes],
        Limits(limit_s, memory_for(source)),
    )
    return decode(list[SizeTrial], call(_try_sizes, variant.name, asked, limits))


def resize_in_subprocess(
    source: Path, variant: Variant, size: Size, out: Path, limit_s: float = STEP_S
) -> None:
    """:func:`write_resized` in another process; raises what it raises, and as
    :func:`sizes_in_subprocess`."""
    asked = [str(source.absolute()), encode(variant), list(size), str(out.absolute())]
    call(_resize, variant.name, asked, Limits(limit_s, memory_for(source)))


def _try_sizes(request: Any, ask: Ask) -> Any:
    source, variant, listed = request
    sizes = None if listed is None else [(height, width) for height, width in listed]
    with tempfile.TemporaryDirectory(prefix="trimtab-sizes-") as folder:
        return encode(try_sizes(Path(source), decode(Variant, variant), sizes, Path(folder)))


def _resize(request: Any, ask: Ask) -> None:
    source, variant, size, out = request
    write_resized(Path(source), decode(Variant, variant), (size[0], size[1]), Path(out))
