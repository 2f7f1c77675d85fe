"""The inputs of a job's test split, read from the images where they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.db import JobRecord
from trimtab.planner.jobs.dataset import (
    TRACED_FIT,
    class_names,
    load_dataset,
    stops_early,
    used_inputs,
)
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.text import printable
from trimtab.planner.specification.job import JobSpec
from trimtab.workloads import Item, Splits, Workload, frame_items, make_stream
from trimtab_runtime.errors import PlanningError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TestInputs:
    """The inputs of a job's test split, in the order of their arrival: files of the photographs
    and `labels` (n,) (None: unknown). `blocks` (n,) says which of them depend on each other;
    `rows` (n,) are their rows in traces of `images` (sha256). `moved` (n,) says which are not the
    photograph itself, but a frame rendered from it."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labels: Ints | None
    classes: tuple[str, ...]
    blocks: Ints
    rows: Ints
    images: tuple[str, ...]
    moved: NDArray[np.bool_]


def job_inputs(job: JobRecord) -> TestInputs:
    """Read from the images where they were. Raises WorkloadError where they are gone, and
    PlanningError where they have changed since."""
    spec = JobSpec.model_validate(job.spec)
    workload, splits = load_dataset(spec)
    if workload.key != job.workload_key:
        raise PlanningError(
            f"the images in {spec.workload.images} are not those of the job any more"
        )
    items, shown, tests, blocks = _arrivals(workload, splits, spec)
    images = {sha: n for n, sha in enumerate(dict.fromkeys(item.sha256 for item in items))}
    rows = np.array([images[items[index].sha256] for index in tests], np.int64)
    originals = [workload.items[index] for index in shown]
    pairs = zip(originals, tests, strict=True)
    return TestInputs(
        paths=tuple(item.path for item in originals),
        names=tuple(printable(items[index].name) for index in tests),
        labels=None if workload.labels is None else workload.labels[shown].astype(np.int64),
        classes=tuple(
            map(printable, class_names(workload.classes, summary_of(job).get("classes", 0)))
        ),
        blocks=blocks,
        rows=rows,
        images=tuple(images),
        moved=np.array([item.sha256 != items[index].sha256 for item, index in pairs], np.bool_),
    )


def _arrivals(
    workload: Workload, splits: Splits, spec: JobSpec
) -> tuple[Sequence[Item], Ints, Ints, Ints]:
    """The traced inputs as `trimtab.planner.jobs.dataset.used_inputs` has them, without writing
    moved frames; which images of the workload test shows, which of the inputs these are, and in
    which blocks."""
    stream = spec.workload.stream
    if stream.kind == "independent" and stream.frames is None:
        items, rows = used_inputs(workload, splits, spec, Path())
        shown = splits.test
        if stops_early(spec):
            shown = make_stream(workload, shown, stream.recipe, splits.seed).items
        objects = np.arange(len(items)) if rows.objects is None else rows.objects
        return items, shown, rows.test, objects[rows.test]
    folder = Path()
    fit = splits.fit[:TRACED_FIT]
    found = [workload.items[index] for index in fit]
    for split in (splits.tune, splits.test):
        made = make_stream(workload, split, stream.recipe, splits.seed)
        begin = len(found)
        found += frame_items(workload, made, folder)
    return found, made.items, np.arange(begin, len(found)), made.blocks
