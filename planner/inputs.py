"""The images of a job: read, split, and named by rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from planner.spec import JobSpec
from search.constraints import Constraint
from search.quality import Ints, needs_labels
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import recall_of, recalled_class
from workloads import SPLIT_NAMES, Item, Splits, Workload, read_workload, split_workload
from workloads.text import first_few

#: Images of `fit` that are traced: calibration needs no more, and a split's prefix is a fair
#: sample of it.
TRACED_FIT = 300


@dataclass(frozen=True)
class Rows:
    """Which inputs belong to which split (rows of the traces), their labels if known, and the
    names of the classes."""

    fit: Ints
    tune: Ints
    test: Ints
    labels: Ints | None
    classes: tuple[str, ...] = ()


def read_inputs(spec: JobSpec) -> tuple[Workload, Splits]:
    """The images that a specification names, and their splits. Raises WorkloadError, or
    SpecificationError for a metric that these images can never tell."""
    work = spec.workload
    workload = read_workload(work.images, work.labels, work.classes, work.splits.group)
    sizes = work.splits
    splits = split_workload(workload, sizes.fit, sizes.tune, sizes.test, sizes.seed)
    for field, metric in named_metrics(spec):
        problem = _untold(metric, spec, workload, splits)
        if problem:
            raise SpecificationError(f"{field}: {problem}")
    return workload, splits


def named_metrics(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """The field and the name of every metric that a specification asks for."""
    yield from (("objectives", metric) for metric in spec.objectives)
    for number, text in enumerate(spec.constraints):
        yield f"constraints[{number}]", Constraint.parse(text).metric


def _untold(metric: str, spec: JobSpec, workload: Workload, splits: Splits) -> str | None:
    """Why a metric cannot be told of these images; None where it can."""
    labels, of = workload.labels, recalled_class(metric)
    if metric == "agreement" and spec.reference is None and labels is not None:
        return "agreement needs a `reference` member to agree with"
    if labels is None and needs_labels(metric) and metric not in spec.objectives:
        return f"{metric} needs labels, but the images have none"
    if labels is None or of is None:
        return None
    places = [index for index, name in enumerate(workload.classes) if name == of]
    if not places:
        close = difflib.get_close_matches(of, workload.classes, n=1)
        told = f"; did you mean {recall_of(close[0])!r}?" if close else ""
        known = first_few(workload.classes, 5)
        return f"{metric!r}: no class is called {of!r}{told} (the classes are {known})"
    if len(places) > 1:
        return f"{metric!r} is ambiguous: {len(places)} classes bear that name"
    if not (labels[splits.tune] == places[0]).any():
        return f"{metric!r} cannot be told: no image of tune is of that class"
    return None


def unseen_classes(workload: Workload, splits: Splits) -> str | None:
    """A warning of classes that a split lacks: of those nothing is learned or told there."""
    if workload.labels is None:
        return None
    every = set(range(len(workload.classes)))
    missing = {
        split: every - set(workload.labels[getattr(splits, split)].tolist())
        for split in SPLIT_NAMES
    }
    lacking = sorted(set.union(*missing.values()))
    if not lacking:
        return None
    counts = ", ".join(f"{len(classes)} in {split}" for split, classes in missing.items())
    few = first_few([workload.classes[index] for index in lacking])
    return (
        f"some of the {len(every)} classes have no image: {counts} ({few}); nothing is known of "
        "them there: add images, or make the splits larger"
    )


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
        classes=workload.classes,
    )
    return [workload.items[index] for index in used], rows
