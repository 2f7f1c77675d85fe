"""Finding taps and cutting at them in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.segments.cutting import cut_segments
from trimtab.variants.segments.heads import Head
from trimtab.variants.segments.taps import TapPlace
from trimtab.variants.segments.verified_taps import usable_taps
from trimtab_runtime.codec import decode, encode


def taps_in_subprocess(
    path: Path,
    limit: int = 9,
    size: tuple[int, int] | None = None,
    limit_s: float = STEP_S,
    name: str | None = None,
) -> tuple[list[TapPlace], str | None]:
    """:func:`variants.usable_taps` in another process, where a step has `limit_s` seconds. Errors
    call the file `name`.

    Raises what it raises, and ModelError where a step takes too long, crashes, or takes more
    memory than it may.
    """
    asked, limits = [str(path.absolute()), limit, size], Limits(limit_s, memory_for(path))
    places, reason = call(_taps, name or path.name, asked, limits)
    return decode(list[TapPlace], places), reason


def cut_in_subprocess(
    path: Path,
    taps: Sequence[str],
    folder: Path,
    heads: Mapping[str, Head],
    grids: Mapping[str, int],
    limit_s: float = STEP_S,
    name: str | None = None,
) -> list[Path]:
    """:func:`variants.cut_segments` in another process; raises as :func:`taps_in_subprocess`."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for number, head in enumerate(heads.values()):
        arrays |= {f"weight_{number}": head.weight, f"bias_{number}": head.bias}
    np.savez(folder / "heads.npz", allow_pickle=False, **arrays)
    places = [str(path.absolute()), str(folder.absolute())]
    asked = [*places, list(taps), list(heads), dict(grids)]
    made = call(_cut, name or path.name, asked, Limits(limit_s, memory_for(path)))
    return [Path(each) for each in made]


def _taps(request: Any, ask: Ask) -> Any:
    path, limit, size = request
    places, reason = usable_taps(Path(path), limit, (size[0], size[1]) if size else None)
    return [encode(places), reason]


def _cut(request: Any, ask: Ask) -> list[str]:
    path, folder, taps, names, grids = request
    with np.load(Path(folder) / "heads.npz", allow_pickle=False) as arrays:
        heads = {
            name: Head(arrays[f"weight_{number}"], arrays[f"bias_{number}"])
            for number, name in enumerate(names)
        }
    return [str(made) for made in cut_segments(Path(path), taps, Path(folder), heads, grids)]
