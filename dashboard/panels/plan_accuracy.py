"""The accuracy of a plan by class, and the inputs that only the baseline gets right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from trimtab.dashboard import markup, store_cache, tables
from trimtab.dashboard.panels.plan_confusions import show_confusions, show_recalls
from trimtab.db import JobRecord, PlanRecord
from trimtab.planner.reports.answers.inputs import TestInputs
from trimtab.planner.reports.answers.plan_answers import PlanAnswers, answered_confusions
from trimtab.planner.reports.front import FrontView
from trimtab.planner.reports.plan.confusions import ConfusionView
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import TrimtabError, WorkloadError
from trimtab_runtime.images.decoding import decode_image

if TYPE_CHECKING:
    import pandas as pd

_IMAGES, _SIDE = 24, 320
_WIDTH = 108  # pixels: three beside each other on a screen of 390


def show_accuracy(
    job: JobRecord, plan: PlanRecord, view: FrontView, kept: ConfusionView | None
) -> None:
    """Per class, and image by image. `kept` is what the store has of the classes; without it, and
    of single images, the photographs are read."""
    markup.section("Accuracy, class by class", "on test; shown only, never used for selection")
    if kept is not None:
        show_confusions(kept, plan.key)
    try:
        inputs = store_cache.inputs(job)
    except TrimtabError as error:
        markup.problem("The photographs of this job cannot be read", str(error), "info")
        return
    found = store_cache.answers(job, plan)
    base = None
    if view.baseline is not None and view.baseline != plan.key:
        base = store_cache.answers(job, store_cache.plan_record(job, view.baseline))
    if isinstance(found, str):
        markup.problem("Unknown", found, "info")
        return
    if inputs.labels is None or found.right is None:
        st.text("These images have no labels; quality is the agreement with the reference model.")
        return
    baseline = base if isinstance(base, PlanAnswers) else None
    if isinstance(base, str):
        markup.problem("Unknown for the baseline", base, "info")
    confusions = answered_confusions(inputs, found, baseline)
    if kept is None and confusions is not None:  # an earlier release kept no counts
        show_confusions(confusions, plan.key)
    elif kept is None:
        show_recalls(class_frame(inputs, found, baseline), plan.key)
    if baseline is not None and baseline.right is not None:
        _images(inputs, found, baseline, plan)


def class_frame(inputs: TestInputs, found: PlanAnswers, base: PlanAnswers | None) -> pd.DataFrame:
    """The recall of every class of test."""
    import pandas as pd

    assert inputs.labels is not None
    columns: dict[str, Any] = {"class": [], "inputs": [], "this plan": []}
    if base is not None and base.right is not None:
        columns["baseline"] = []
    for label in np.unique(inputs.labels):
        here = inputs.labels == label
        columns["class"].append(_name(inputs, int(label)))
        columns["inputs"].append(int(here.sum()))
        for name, answers in (("this plan", found), ("baseline", base)):
            if name in columns and answers is not None and answers.right is not None:
                columns[name].append(float(answers.right[here].mean()))
    return pd.DataFrame(columns)


def _images(inputs: TestInputs, found: PlanAnswers, base: PlanAnswers, plan: PlanRecord) -> None:
    """Photographs that only one of the two gets right."""
    import pandas as pd

    assert found.right is not None
    assert base.right is not None
    assert inputs.labels is not None
    lost: list[int] = np.flatnonzero(~found.right & base.right).tolist()
    won: list[int] = np.flatnonzero(found.right & ~base.right).tolist()
    both = int((~found.right & ~base.right).sum())
    markup.section(
        f"{len(lost)} inputs that only the baseline gets right",
        f"{len(won)} that only this plan gets right, {both} that both get wrong, of "
        f"{len(found.right)} inputs",
    )
    _changed(inputs, found, lost, won, plan)
    told = [
        *(("only the baseline is right", n) for n in lost),
        *(("only this plan is right", n) for n in won),
    ]
    rows = [
        {
            "which": which,
            "image": inputs.names[n],
            "label": _name(inputs, int(inputs.labels[n])),
            "this plan": _said(inputs, found, n),
            "baseline": _said(inputs, base, n),
        }
        for which, n in told
    ]
    frame = pd.DataFrame(rows, columns=["which", "image", "label", "this plan", "baseline"])
    tables.behind(frame, f"images-{plan.key[:8]}")


def _changed(
    inputs: TestInputs, found: PlanAnswers, lost: list[int], won: list[int], plan: PlanRecord
) -> None:
    """The photographs by what became of them and by their class; some at a time."""
    assert inputs.labels is not None
    ways = {f"newly wrong ({len(lost)})": lost, f"newly right ({len(won)})": won}
    left, right = st.columns(2)
    way = left.segmented_control(
        "Images", list(ways), default=next(iter(ways)), key=f"changed-{plan.key[:8]}"
    )
    rows = ways.get(way or "", lost)
    labels = sorted({int(inputs.labels[n]) for n in rows})
    counts = {label: sum(int(inputs.labels[n]) == label for n in rows) for label in labels}
    label = right.selectbox(
        "Class",
        [None, *sorted(labels, key=lambda one: -counts[one])],
        format_func=lambda one: "all" if one is None else f"{_name(inputs, one)} ({counts[one]})",
        key=f"changed-class-{plan.key[:8]}",
    )
    shown = [n for n in rows if label is None or int(inputs.labels[n]) == label]
    pages = -(-len(shown) // _IMAGES)
    page = 1
    if pages > 1:
        key = f"changed-page-{plan.key[:8]}"
        page = st.number_input(f"Page, of {pages}", 1, pages, 1, key=key)
    _gallery(inputs, found, shown[_IMAGES * (page - 1) : _IMAGES * page])


def _gallery(inputs: TestInputs, found: PlanAnswers, rows: list[int]) -> None:
    """The photographs of these rows, each once; three beside each other on a telephone."""
    assert inputs.labels is not None
    shown: dict[Path, int] = {}
    for number in rows:
        shown.setdefault(inputs.paths[number], number)
    with st.container(horizontal=True, gap="small"):
        for path, number in shown.items():
            name = _name(inputs, int(inputs.labels[number]))
            said = _said(inputs, found, number)
            told = f"answered {said}" if said else "answer not known"
            with st.container(width=_WIDTH, gap=None):
                try:
                    st.image(_thumbnail(str(path)), width="stretch", alt=f"{name}, {told}")
                except WorkloadError as error:
                    st.text(str(error))
                told = markup.div(markup.tag("b", name), markup.div(told), cls="tt-note")
                markup.show(told)


@st.cache_resource(show_spinner=False, max_entries=400)
def _thumbnail(path: str) -> Any:
    image = decode_image(path)
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image.convert("RGB"))


def _name(inputs: TestInputs, label: int) -> str:
    return inputs.classes[label] if label < len(inputs.classes) else str(label)


def _said(inputs: TestInputs, answers: PlanAnswers, number: int) -> str:
    if answers.answer is None:
        return ""
    return printable(_name(inputs, int(answers.answer[number])))
