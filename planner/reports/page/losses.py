"""What a plan loses against the baseline on test: by class, and image by image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.db import JobRecord, Store
from trimtab.planner.reports.answers.inputs import TestInputs, job_inputs
from trimtab.planner.reports.answers.plan_answers import PlanAnswers, plan_answers
from trimtab.planner.reports.comparison import place_of
from trimtab.planner.reports.front import FrontView
from trimtab.planner.reports.page.blocks import (
    Block,
    Paragraphs,
    Photograph,
    Photographs,
    Section,
    Table,
)
from trimtab_runtime.errors import TrimtabError, WorkloadError
from trimtab_runtime.images.decoding import decode_image

_SIDE, _QUALITY = 160, 80  # pixels and JPEG quality of a photograph
_CLASSES = 30


@dataclass(frozen=True)
class _Answers:
    """What the plan and the baseline say on the inputs of test, all labelled."""

    inputs: TestInputs
    labels: NDArray[np.int64]
    own: PlanAnswers
    own_right: NDArray[np.bool_]
    base_right: NDArray[np.bool_]

    def name(self, index: int) -> str:
        classes = self.inputs.classes
        return classes[index] if index < len(classes) else str(index)


def losses_section(store: Store, job: JobRecord, view: FrontView, images: int) -> Section | None:
    """A table by class, and at most `images` photographs that only the baseline gets right. None
    where there is nothing to compare."""
    if view.chosen is None or view.baseline is None or view.chosen == view.baseline:
        return None
    title = "What is lost, class by class"
    try:
        found = _answers(store, job, view.chosen, view.baseline)
    except TrimtabError as error:  # photographs or traces are gone
        return Section(title, [Paragraphs([f"Not known: {error}"])])
    if found is None:
        told = "The images have no labels; quality is the agreement with the reference model."
        return Section(title, [Paragraphs([told])])
    lost = int((found.base_right & ~found.own_right).sum())
    won = int((found.own_right & ~found.base_right).sum())
    told = (
        f"Of {len(found.labels)} test images {lost} are newly wrong and {won} newly right. "
        "Classes with the largest loss come first."
    )
    return Section(title, [Paragraphs([told]), _by_class(found), *_photographs(found, images)])


def _answers(store: Store, job: JobRecord, chosen: str, baseline: str) -> _Answers | None:
    """None without labels. Raises TrimtabError where photographs or traces are gone."""
    place = place_of(store, job)
    inputs = job_inputs(place)
    own, base = (
        plan_answers(store, place, store.find_plan(key, job_id=place.id), inputs)
        for key in (chosen, baseline)
    )
    if inputs.labels is None or own.right is None or base.right is None:
        return None
    return _Answers(inputs, inputs.labels, own, own.right, base.right)


def _by_class(found: _Answers) -> Table:
    rows = []
    for label in np.unique(found.labels).tolist():
        mine = found.labels == label
        own, base = found.own_right[mine], found.base_right[mine]
        lost, won = int((base & ~own).sum()), int((own & ~base).sum())
        cells = [str(int(mine.sum())), f"{base.mean():.1%}", f"{own.mean():.1%}"]
        rows.append((lost - won, [found.name(label), *cells, str(lost), str(won)]))
    rows.sort(key=lambda row: -row[0])
    head = ["class", "images", "recall, baseline", "recall, chosen", "newly wrong", "newly right"]
    shown = [cells for _, cells in rows[:_CLASSES]]
    if len(rows) > len(shown):
        shown.append([f"and {len(rows) - len(shown)} more classes", *[""] * (len(head) - 1)])
    return Table(head, shown)


def _photographs(found: _Answers, most: int) -> Iterator[Block]:
    """Newly wrong images by class, an equal share of the room for each class."""
    wrong = np.flatnonzero(found.base_right & ~found.own_right)
    labels = np.unique(found.labels[wrong]).tolist()
    left = most
    for number, label in enumerate(labels):
        rows = wrong[found.labels[wrong] == label]
        shown = [found.inputs.paths[row] for row in rows]
        places = dict(zip(reversed(shown), reversed(rows.tolist()), strict=True))  # each file once
        room = -(-left // (len(labels) - number))
        drawn = [_photograph(found, path, row) for path, row in [*places.items()][::-1][:room]]
        left -= len(drawn)
        if drawn:
            told = f"{found.name(label)}, newly wrong: {len(drawn)} of {len(places)} images"
            yield Photographs(told, drawn)


def _photograph(found: _Answers, path: Path, row: int) -> Photograph:
    said = "answered wrongly"
    if found.own.answer is not None:
        said = f"answered {found.name(int(found.own.answer[row]))}"
    try:
        return Photograph(_jpeg(path), f"{found.inputs.names[row]}: {said}")
    except WorkloadError:
        return Photograph(b"", f"{found.inputs.names[row]}: {said} (the file cannot be read)")


def _jpeg(path: Path) -> bytes:
    image = decode_image(str(path))
    image.thumbnail((_SIDE, _SIDE))
    held = io.BytesIO()
    image.convert("RGB").save(held, "JPEG", quality=_QUALITY)
    return held.getvalue()
