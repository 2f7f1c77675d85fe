"""The images of a job: read, split, and named by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.spec import JobSpec
from search.quality import Ints
from workloads import Item, Splits, Workload, read_workload, split_workload

#: Images of `fit` that are traced: calibration needs no more, and a split's prefix is a fair
#: sample of it.
TRACED_FIT = 300


@dataclass(frozen=True)
class Rows:
    """Which inputs belong to which split (rows of the traces), and their labels if known."""

    fit: Ints
    tune: Ints
    test: Ints
    labels: Ints | None


def read_inputs(spec: JobSpec) -> tuple[Workload, Splits]:
    """The images that a specification names, and their splits. Raises WorkloadError."""
    work = spec.workload
    workload = read_workload(work.images, work.labels, work.classes, work.splits.group)
    sizes = work.splits
    return workload, split_workload(workload, sizes.fit, sizes.tune, sizes.test, sizes.seed)


def used_inputs(workload: Workload, splits: Splits) -> tuple[Sequence[Item], Rows]:
    """The images to be traced, in the workload's order, and which are of which split."""
    fit = splits.fit[:TRACED_FIT]
    used = np.sort(np.concatenate([fit, splits.tune, splits.test]))
    labels = workload.labels
    rows = Rows(
        fit=np.searchsorted(used, fit),
        tune=np.searchsorted(used, splits.tune),
        test=np.searchsorted(used, splits.test),
        labels=None if labels is None else labels[used],
    )
    return [workload.items[index] for index in used], rows
