"""Which classes a plan takes for which on test, from the counts that its report kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.db import JobRecord, PlanRecord, Store
from trimtab.planner.jobs.dataset import class_names
from trimtab.planner.reports.text import printable

Ints = NDArray[np.int64]
Counts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ClassAnswers:
    """A class: its `images` of test, how many of them are answered `right`, how many images of all
    are `answered` so, and the share of its own that are right (`recall`; None without images);
    `baseline_recall` is the baseline's where that is known."""

    index: int
    name: str
    images: int
    right: int
    answered: int
    recall: float | None
    baseline_recall: float | None = None


@dataclass(frozen=True)
class Confusion:
    """Images of the class `label` (an index) that are answered with `answer`, as a number and as
    a share of the images of that class."""

    label: int
    answer: int
    images: int
    share: float


@dataclass(frozen=True)
class ConfusionView:
    """Every class that is a label or an answer, in the order of the classes; what is confused, the
    most frequent first."""

    classes: tuple[ClassAnswers, ...]
    confusions: tuple[Confusion, ...]

    def name(self, index: int) -> str:
        return next(found.name for found in self.classes if found.index == index)

    def worst(self, count: int) -> tuple[ClassAnswers, ...]:
        """Classes with images, the lowest recall first; of equals the one with more images."""
        shown = [found for found in self.classes if found.images]
        shown.sort(key=lambda c: (-1.0 if c.recall is None else c.recall, -c.images))
        return tuple(shown[:count])

    def matrix(self) -> list[list[int]]:
        """Numbers of images, a row for each label and a column for each answer of the classes."""
        place = {found.index: number for number, found in enumerate(self.classes)}
        rows = [[0] * len(place) for _ in place]
        for number, found in enumerate(self.classes):
            rows[number][number] = found.right
        for pair in self.confusions:
            rows[place[pair.label]][place[pair.answer]] = pair.images
        return rows


def confusions_of(
    store: Store, job: JobRecord, plan: PlanRecord, baseline: str | None = None
) -> ConfusionView | None:
    """What the store kept of a plan's answers on test, beside those of the plan with the key
    `baseline`; None without labels, and where the plan was not reported on test."""
    counts = plan.definition.get("confusions")
    if not counts:
        return None
    workload = store.get_workload(job.workload_key) if job.workload_key else None
    names = workload.summary.get("classes", ()) if workload else ()
    base: Counts = ()
    if baseline is not None and baseline != plan.key:
        base = store.find_plan(baseline, job_id=job.id).definition.get("confusions", ())
    return confusion_view(counts, names, base)


def confusion_view(counts: Counts, names: Sequence[str], baseline: Counts = ()) -> ConfusionView:
    """Of [label, answer, images] a plan and, where known, its `baseline`. Classes without a name
    are called by their index."""
    table, other = (np.array(found, np.int64).reshape(-1, 3) for found in (counts, baseline))
    size = 1 + int(np.concatenate([table, other])[:, :2].max())
    known = class_names(names, size)
    shown, right, answered = _sums(table, size)
    base_shown, base_right, _ = _sums(other, size)
    classes = tuple(
        ClassAnswers(
            index=index,
            name=printable(known[index]),
            images=int(shown[index]),
            right=int(right[index]),
            answered=int(answered[index]),
            recall=_share(right[index], shown[index]),
            baseline_recall=_share(base_right[index], base_shown[index]),
        )
        for index in np.flatnonzero(shown + answered).tolist()
    )
    wrong = [row for row in table.tolist() if row[0] != row[1]]
    wrong.sort(key=lambda row: (-row[2], -row[2] / shown[row[0]], row[0], row[1]))
    confusions = (Confusion(a, b, count, count / int(shown[a])) for a, b, count in wrong)
    return ConfusionView(classes, tuple(confusions))


def _sums(table: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    """Images (size,) by label, those answered rightly, and by answer."""
    shown, right, answered = (np.zeros(size, np.int64) for _ in range(3))
    same = table[:, 0] == table[:, 1]
    np.add.at(shown, table[:, 0], table[:, 2])
    np.add.at(right, table[same, 0], table[same, 2])
    np.add.at(answered, table[:, 1], table[:, 2])
    return shown, right, answered


def _share(part: int, whole: int) -> float | None:
    return int(part) / int(whole) if whole else None
