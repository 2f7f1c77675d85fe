"""Running a plan that may stop early: from the thumbnail through all taps to the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from trimtab_runtime.definitions.exits import EXIT_KINDS, Tap
from trimtab_runtime.definitions.plan import OperatingPoint, Structure
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.memory.states import NO_ARRAYS, TapArrays, check_tap_arrays, read_tap_arrays
from trimtab_runtime.plans.deciders import LoadedRouter, Reading
from trimtab_runtime.plans.routing import combine, decide

Array = Any

#: Names of who answered, by their number in trimtab_runtime.memory.kernel.
ANSWERED_BY = ("network", *EXIT_KINDS)


class Found(NamedTuple):
    """What a plan says: the `answer` with the `probabilities` (classes,) that it was read from,
    the `stage` where it stopped, `by` whom (a number of trimtab_runtime.memory.kernel), at which
    `tap` (-1: at none), and the stage that was its `entry`."""

    probabilities: Array
    answer: int
    confidence: float
    stage: int
    by: int
    tap: int
    entry: int = 0


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


def run_early(
    stages: Sequence[Any],
    rule: str,
    point: OperatingPoint,
    recall: Recall,
    image: Any,
    learn: bool = True,
    router: Optional[LoadedRouter] = None,
) -> Found:
    """The answer to one image, which is learned unless told otherwise.

    `stages` are as :class:`trimtab_runtime.plans.stage.LoadedStage`, `image` has a `thumbnail()`;
    a `router` picks the stage where it enters. The order of all steps is that of
    trimtab.search.replay.stateful. Raises InferenceError; then nothing was learned.
    """
    recall.begin()
    said: Optional[Array] = None
    total: Optional[Array] = None
    entry, last = 0, len(stages) - 1
    reading: Optional[Reading] = None  # of the tap where the stage stands, if a router read it
    if recall.memory.thumbnails:
        said = recall.at_thumbnail(image.thumbnail())
    if router is not None:
        entry, reading = router.enter(image, stages[0], point.price)
        reading = None if entry else reading
    position, place = entry, sum(len(stage.taps) for stage in stages[:entry])
    while said is None:
        stage = stages[position]
        if reading is None:
            stage.start(image)
        for _ in stage.taps:
            vector, logits = reading or stage.tap()
            said = recall.at_tap(vector, logits, place)
            reading, place = None, place + 1
            if said is not None:
                break
        else:
            found = stage.finish()
            if len(found) != recall.classes:
                raise InferenceError(
                    f"{stage.variant.name} tells {len(found)} classes apart, the plan "
                    f"{recall.classes}"
                )
            total = combine(total, found, position - entry, rule)
            weighed = recall.weighed(total)
            index, value = decide(weighed)
            if not math.isfinite(value):
                raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
            if position == last:
                break
            if stage.confidence(weighed, float(value)) >= point.thresholds[position]:
                break
            position += 1
    by, tap = recall.answered()
    if said is None:
        said = weighed
    else:
        said = said.copy()  # it is the memory's own
        index, value = decide(said)
    if learn:
        recall.finish(said, int(index))
    return Found(said, int(index), float(value), position, by, tap, entry)
