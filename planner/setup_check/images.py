"""Which images a check is made on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from trimtab.planner.candidates.output_trials import LabelledTrial
from trimtab.planner.jobs.dataset import quality_metrics
from trimtab.planner.setup_check.trial import LOOKS
from trimtab.planner.specification.job import JobSpec
from trimtab.workloads import Item, Splits, Workload


def checked_images(workload: Workload, splits: Splits) -> list[Item]:
    """Images of fit and tune, never of test: the classes by turns, one image of each object (they
    are compared as independent ones), and no more than are ever looked at."""
    items = [workload.items[index] for index in np.concatenate([splits.fit, splits.tune])]
    unique = {item.group or item.sha256: item for item in reversed(items)}
    by_class: dict[int | None, list[Item]] = defaultdict(list)
    for item in reversed(unique.values()):
        by_class[item.label].append(item)
    turns = [
        (turn, place, item)
        for place, members in enumerate(by_class.values())
        for turn, item in enumerate(members)
    ]
    return [item for _, _, item in sorted(turns, key=lambda t: t[:2])][: LOOKS[-1]]


def labelled_trial(
    spec: JobSpec, workload: Workload, splits: Splits, alive: Callable[[], None]
) -> LabelledTrial:
    """What tells the outputs of a job's members: on images of fit and tune, and on tune alone for
    what is chosen."""
    quality = [metric for _, metric in quality_metrics(spec)]
    return LabelledTrial(
        checked_images(workload, splits),
        [workload.items[index] for index in splits.tune],
        workload.classes,
        quality[0] if quality else "top1",
        spec.budget.stall_seconds,
        alive,
    )


def check_labels(items: list[Item]) -> tuple[int, ...] | None:
    """Their labels; None where they have none."""
    found = [item.label for item in items if item.label is not None]
    return tuple(found) if len(found) == len(items) else None
