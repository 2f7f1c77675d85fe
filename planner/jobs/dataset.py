"""The images of a job: read, split, and named by rows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from trimtab.db import Level
from trimtab.planner.specification.job import JobSpec
from trimtab.search.estimates.metrics import needs_labels, needs_reference
from trimtab.search.estimates.targets import Ints
from trimtab.search.objectives.constraints import Constraint
from trimtab.workloads import (
    SPLIT_NAMES,
    Item,
    Splits,
    StreamRecipe,
    Workload,
    checked_images,
    class_counts,
    frame_items,
    in_several_splits,
    make_stream,
    read_workload,
    split_workload,
    write_frames,
)
from trimtab.workloads.images.split_folders import split_called
from trimtab.workloads.images.text import first_few
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import find_metric, recall_of, recalled_class

#: Images of `fit` that are traced: calibration needs no more, and a split's prefix is a fair
#: sample of it.
TRACED_FIT = 300
#: Images of `fit` that heads and centres are fitted on, where a job has any.
EQUIPPED_FIT = 16_000


@dataclass(frozen=True)
class SplitRows:
    """Which inputs belong to which split (rows of the traces), in the order of their arrival;
    their labels if known, and the names of the classes.

    `objects` (inputs,) says which inputs show the same one (None: each another), `blocks`
    (inputs,) which frames depend on each other (None: none do). `certify` are rows of the tune
    split that nothing is selected on.
    """

    fit: Ints
    tune: Ints
    test: Ints
    labels: Ints | None
    classes: tuple[str, ...] = ()
    objects: Ints | None = None
    blocks: Ints | None = None
    certify: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


def load_dataset(
    spec: JobSpec, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Workload, Splits]:
    """The images that a specification names, and their splits; `progress` is told how many of how
    many images were looked at. Raises WorkloadError, or
    SpecificationError for a metric that these images can never tell."""
    work = spec.workload
    workload = checked_images(
        read_workload(work.images, work.labels, work.classes, work.splits.group, work.exclude),
        work.unreadable,
        work.near_duplicates == "together",
        progress,
    )
    _check_sizes(workload, work.largest_megapixels)
    sizes = work.splits
    splits = split_workload(workload, sizes.fit, sizes.tune, sizes.test, sizes.seed)
    workload = replace(workload, notices=(*workload.notices, *_split_notices(workload, splits)))
    for place, metric in named_metrics(spec):
        problem = _untold(metric, spec, workload, splits)
        if problem:
            raise SpecificationError(f"{place}: {problem}")
    return workload, splits


def _check_sizes(workload: Workload, most: float | None) -> None:
    """Raises SpecificationError where an image has more megapixels than a plan will read."""
    width, height = max(workload.shapes, key=math.prod, default=(0, 0))
    if most is not None and width * height > int(most * 1e6):
        raise SpecificationError(
            f"workload.largest_megapixels: there are images of {width} x {height} pixels, and no "
            f"plan would read one of more than {most:g} million; raise it to "
            f"{math.ceil(width * height / 1e4) / 100:g}, or scale them down"
        )


def _split_notices(workload: Workload, splits: Splits) -> Iterator[str]:
    """What to tell of splits that are folders, or stand in a table."""
    items = [item for item in workload.items if item.split]
    if not items:
        return
    own = {item.split for item in items}
    folders: dict[str, set[str]] = {split: set() for split in SPLIT_NAMES}
    for item in items:
        above = PurePosixPath(item.name).parent.parts
        folders[item.split or ""] |= {part for part in above if split_called(part) == item.split}
    by_folder = any(folders.values())
    told = ", ".join(
        f"{split} {size} ({' and '.join(sorted(folders[split])) or 'of its rows'})"
        if split in own
        else f"{split} {size} (of another {'folder' if by_folder else 'split'})"
        for split, size in splits.sizes.items()
    )
    what = "the folders are splits, and no classes" if by_folder else "splits as the table says"
    yield f"{what}: {told}"
    twice = in_several_splits(workload)
    if len(twice):
        few = first_few([workload.items[index].name for index in twice])
        yield (
            f"{len(twice)} image(s) show what an earlier split (of fit, tune, test) shows too, "
            f"and are left out: {few}"
        )


def named_metrics(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """The field and the name of every metric that a specification asks for."""
    yield from (("objectives", metric) for metric in spec.objectives)
    for number, text in enumerate(spec.constraints):
        yield f"constraints[{number}]", Constraint.parse(text).metric


def _untold(metric: str, spec: JobSpec, workload: Workload, splits: Splits) -> str | None:
    """Why a metric cannot be told of these images; None where it can."""
    labels, of = workload.labels, recalled_class(metric)
    if needs_reference(metric) and spec.reference is None and labels is not None:
        return f"{metric} needs a `reference` model to agree with"
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
        return f"{metric!r} is ambiguous: {len(places)} classes have this name"
    if not (labels[splits.tune] == places[0]).any():
        return f"{metric!r} cannot be estimated: no validation image (tune) is of that class"
    return None


def told_of(workload: Workload, spec: JobSpec) -> Iterator[tuple[Level, str]]:
    """What a job says of its images before it begins: (level, text)."""
    counts = class_counts(workload)
    if counts is not None:
        yield "info", f"{counts.images} images in {len(counts.counts)} classes: {counts.text}"
        blind = all(metric in ("top1", "top5") for _, metric in quality_metrics(spec))
        if counts.warning and blind:
            yield "warning", counts.warning
    yield from (("warning", text) for text in workload.notices)


def quality_metrics(spec: JobSpec) -> list[tuple[str, str]]:
    """Those of the named metrics that tell how good answers are."""
    return [found for found in named_metrics(spec) if find_metric(found[1]).kind == "quality"]


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
        f"some of the {len(every)} classes have no image: {counts} ({few}); accuracy "
        "there is unknown: add images, or make the splits larger"
    )


def stops_early(spec: JobSpec) -> bool:
    """Whether plans may answer before a network's end."""
    return spec.techniques.exits or spec.techniques.memory


def equipping_inputs(
    workload: Workload, splits: Splits, spec: JobSpec
) -> tuple[Sequence[Item], Ints | None]:
    """The images that heads and centres are fitted on, with their labels if known."""
    used = splits.fit[: EQUIPPED_FIT if stops_early(spec) else 0]
    labels = None if workload.labels is None else workload.labels[used]
    return [workload.items[index] for index in used], labels


def used_inputs(
    workload: Workload, splits: Splits, spec: JobSpec, folder: Path
) -> tuple[Sequence[Item], SplitRows]:
    """The inputs to be traced, and which are of which split. Moved frames are written into
    `folder`. Raises WorkloadError, or SpecificationError where certificates leave nothing."""
    fit, stream = splits.fit[:TRACED_FIT], spec.workload.stream
    if stream.kind == "independent" and stream.frames is None:
        items, rows = _stills(workload, splits, fit, stream.recipe if stops_early(spec) else None)
    else:
        items, rows = _frames(workload, splits, fit, stream.recipe, folder)
    if spec.certify is not None:
        rows = _set_aside(rows, spec.certify.share)
    return items, rows


def _stills(
    workload: Workload, splits: Splits, fit: Ints, recipe: StreamRecipe | None
) -> tuple[Sequence[Item], SplitRows]:
    """Every image once, in the workload's order; those of tune and test arrive as a `recipe`
    says, else as they were split (which spreads classes too evenly to remember anything)."""
    used = np.sort(np.concatenate([fit, splits.tune, splits.test]))
    labels, tune, test = workload.labels, splits.tune, splits.test
    if recipe is not None:
        tune, test = (make_stream(workload, s, recipe, splits.seed).items for s in (tune, test))
    rows = SplitRows(
        fit=np.searchsorted(used, fit),
        tune=np.searchsorted(used, tune),
        test=np.searchsorted(used, test),
        labels=None if labels is None else labels[used],
        classes=workload.classes,
        objects=workload.objects[used],
    )
    return [workload.items[index] for index in used], rows


def _frames(
    workload: Workload, splits: Splits, fit: Ints, recipe: StreamRecipe, folder: Path
) -> tuple[Sequence[Item], SplitRows]:
    """The images of fit, then the frames of tune and of test."""
    items = [workload.items[index] for index in fit]
    shown, blocks, ends = [fit], [np.arange(len(fit))], [len(fit)]
    for split in (splits.tune, splits.test):
        stream = make_stream(workload, split, recipe, splits.seed)
        write_frames(workload, stream, folder)
        items += frame_items(workload, stream, folder)
        shown.append(stream.items)
        blocks.append(stream.blocks + blocks[-1].max() + 1)
        ends.append(len(items))
    labels = workload.labels
    of_fit, of_tune, of_test = np.split(np.arange(len(items)), ends[:-1])
    rows = SplitRows(
        fit=of_fit,
        tune=of_tune,
        test=of_test,
        labels=None if labels is None else labels[np.concatenate(shown)],
        classes=workload.classes,
        objects=workload.objects[np.concatenate(shown)],
        blocks=np.concatenate(blocks),
    )
    return items, rows


def _set_aside(rows: SplitRows, share: float) -> SplitRows:
    """Keep the last objects of tune for certificates. Raises SpecificationError."""
    assert rows.objects is not None
    shown = rows.objects[rows.tune]
    objects = list(dict.fromkeys(shown.tolist()))
    kept = round(len(objects) * (1 - share))
    if not kept:
        raise SpecificationError(
            f"certify.share: {share} of the {len(objects)} object(s) of tune leaves none for "
            "selection; give a smaller share, or more images in tune"
        )
    aside = np.isin(shown, objects[kept:])
    return replace(rows, tune=rows.tune[~aside], certify=rows.tune[aside])


def class_names(known: Sequence[str], classes: int) -> list[str]:
    """A name for every class of the members; the index where the workload has none."""
    return [known[index] if index < len(known) else str(index) for index in range(classes)]
