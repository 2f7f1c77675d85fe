"""The loop that answers one image, for plans of every kind: single models, cascades, routed plans,
early exits, memories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from trimtab_runtime.definitions.exits import EXIT_KINDS
from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.memory.kernel import NETWORK, NEVER
from trimtab_runtime.memory.semantic import Recall
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


def run_plan(
    stages: Sequence[Any],
    rule: str,
    point: OperatingPoint,
    image: Any,
    recall: Optional[Recall] = None,
    router: Optional[LoadedRouter] = None,
    learn: bool = True,
) -> Found:
    """The answer to one image, which is learned unless told otherwise.

    `stages` are as :class:`trimtab_runtime.plans.stage.LoadedStage`, `image` has a `thumbnail()`.
    Plans that stop early or remember have a `recall`; without one no tap is asked. A `router`
    picks the stage where the image enters. The replay of plans (trimtab.search.replay) takes the
    same steps in the same order. Raises InferenceError; then nothing was learned.
    """
    said: Optional[Array] = None  # by anything but a whole network
    total: Optional[Array] = None
    reading: Optional[Reading] = None  # of the first tap of stage 0, if a router read it
    entry, last, tap = 0, len(stages) - 1, 0
    if recall is not None:
        recall.begin()
        if recall.memory.thumbnails:
            said = recall.at_thumbnail(image.thumbnail())
    if router is not None:
        entry, reading = router.enter(image, stages[0], point.price)
        if entry:
            reading, tap = None, sum(len(stage.taps) for stage in stages[:entry])
    position = entry
    while said is None:
        stage = stages[position]
        if reading is None:
            stage.start(image)
        if recall is not None:
            said = _at_taps(stage, recall, tap, reading)
            if said is not None:
                break
            tap += len(stage.taps)
        reading, found = None, stage.finish()
        if recall is not None and len(found) != recall.classes:
            raise InferenceError(
                f"{stage.variant.name} tells {len(found)} classes apart, the plan {recall.classes}"
            )
        total = combine(total, found, position - entry, rule)
        weighed = total if recall is None else recall.weighed(total)
        index, value = decide(weighed)
        largest = float(value)
        if not math.isfinite(largest):
            raise InferenceError(f"{stage.variant.name} answered with NaN or infinity")
        if position == last or stage.confidence(weighed, largest) >= point.thresholds[position]:
            break
        position += 1
    if recall is None:
        return Found(weighed, int(index), largest, position, NETWORK, NEVER, entry)
    if said is None:
        said = weighed
    else:
        said = said.copy()  # it is the memory's own
        index, value = decide(said)
    by, at = recall.answered()
    if learn:
        recall.finish(said, int(index))
    return Found(said, int(index), float(value), position, by, at, entry)


def _at_taps(
    stage: Any, recall: Recall, first: int, reading: Optional[Reading]
) -> Optional[Array]:
    """What the first tap of a stage that is sure answers (classes,); None where none is. Its taps
    are numbered from `first` on over all stages; the first of them may have been read already."""
    for tap in range(first, first + len(stage.taps)):
        vector, logits = reading or stage.tap()
        reading, said = None, recall.at_tap(vector, logits, tap)
        if said is not None:
            return said
    return None
