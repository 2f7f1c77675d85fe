"""The memory of a plan that may stop early, as its bundle describes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

from trimtab_runtime.definitions.exits import Tap
from trimtab_runtime.definitions.plan import Structure
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.memory.states import NO_ARRAYS, TapArrays, check_tap_arrays, read_tap_arrays


def make_recall(
    structure: Structure, arrays: Sequence[Sequence[TapArrays]], classes: int
) -> Recall:
    """The memory of a plan; `arrays` has a sequence for every stage, empty without exits."""
    taps: list[Tap] = []
    found: list[TapArrays] = []
    starts = []
    for stage, equipment in zip(structure.stages, arrays):
        starts.append(len(taps))
        taps += stage.exits.taps if stage.exits else ()
        found += equipment
    return Recall(structure.memory, taps, found, classes, starts)


def load_recall(
    structure: Structure, classes: int, place: Callable[[str], Path]
) -> Optional[Recall]:
    """The memory of a plan; None where it needs none. `place` tells where a file of arrays lies,
    by its sha256. Raises BundleError."""
    if not structure.stops_early:
        return None
    arrays: list[list[TapArrays]] = []
    for stage in structure.stages:
        if stage.exits is None:
            arrays.append([])
            continue
        taps = stage.exits.taps
        if not any(tap.kinds for tap in taps):
            arrays.append([NO_ARRAYS] * len(taps))
            continue
        path = str(place(stage.exits.arrays))
        arrays.append(read_tap_arrays(path, len(taps)))
        check_tap_arrays(path, taps, arrays[-1], classes)
    return make_recall(structure, arrays, classes)
