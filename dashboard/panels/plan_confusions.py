"""The recall of each class, and which classes are taken for which: counts of images of test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from trimtab.dashboard import markup, tables
from trimtab.dashboard.charts import figures
from trimtab.planner.reports.plan.confusions import ClassAnswers, Confusion, ConfusionView

if TYPE_CHECKING:
    import pandas as pd

_RECALLS, _MATRIX = 12, 24  # classes
_OPAQUE = 0.75  # the colour of a cell that holds a whole row


def show_confusions(found: ConfusionView, key: str) -> None:
    """What is worst in words, the recalls as a picture, and the matrix as a table of HTML, which
    a screen reader reads row by row; of many classes what is confused most."""
    markup.show(markup.div(confusion_summary(found)))
    show_recalls(_recall_frame(found), key)
    confusions = _confusion_frame(found)
    if len(found.classes) > _MATRIX:
        told = f"{len(found.confusions)} pairs of {len(found.classes)} classes"
        markup.section("Most frequent confusions", f"images of test; {told}")
        tables.table(confusions, f"confusions-{key[:8]}")
        return
    markup.section("Confusion matrix", "images of test: a row a label, a column an answer")
    markup.show(confusion_table(found))
    tables.behind(confusions, f"confusions-{key[:8]}")


def show_recalls(frame: pd.DataFrame, key: str) -> None:
    """The classes that differ most from the baseline, or the hardest: a row a class, with the
    columns 'class', 'inputs', 'this plan' and, where it is known, 'baseline'."""
    names = [name for name in ("this plan", "baseline") if name in frame]
    order = frame["this plan"]
    if "baseline" in frame:
        order = (frame["this plan"] - frame["baseline"]).abs() * -1
    shown = frame.loc[order.sort_values(kind="stable").index][:_RECALLS]
    st.plotly_chart(
        figures.class_picture(shown, names), config=figures.CONFIG, key="class-picture"
    )
    if len(shown) < len(frame):
        st.caption(f"{len(shown)} of {len(frame)} classes, largest differences first")
    tables.behind(frame, f"classes-{key[:8]}")


def confusion_summary(found: ConfusionView) -> str:
    """The worst recall and the most frequent confusion, in a sentence or two."""
    (worst,) = found.worst(1)
    text = f"Lowest recall: {worst.name}, {worst.right} of {worst.images} images."
    if not found.confusions:
        return f"{text} No class is taken for another."
    first = found.confusions[0]
    return (
        f"{text} Most frequent confusion: {found.name(first.label)} taken for "
        f"{found.name(first.answer)}, {_times(first)}."
    )


def _times(pair: Confusion) -> str:
    return f"{pair.images} time(s), {pair.share:.0%} of its images"


def _recall_frame(found: ConfusionView) -> pd.DataFrame:
    """The recall of every class of test."""
    import pandas as pd

    shown = [one for one in found.classes if one.images]
    columns: dict[str, list[object]] = {
        "class": [one.name for one in shown],
        "inputs": [one.images for one in shown],
        "answered so": [one.answered for one in shown],
        "this plan": [one.recall for one in shown],
    }
    if any(one.baseline_recall is not None for one in shown):
        columns["baseline"] = [one.baseline_recall for one in shown]
    return pd.DataFrame(columns)


def _confusion_frame(found: ConfusionView) -> pd.DataFrame:
    """Every confusion, the most frequent first."""
    import pandas as pd

    rows = [
        {
            "label": found.name(pair.label),
            "answer": found.name(pair.answer),
            "images": pair.images,
            "share of the label's": pair.share,
        }
        for pair in found.confusions
    ]
    return pd.DataFrame(rows, columns=["label", "answer", "images", "share of the label's"])


def confusion_table(found: ConfusionView) -> markup.Markup:
    """Counts, each the darker the larger its share of its row: right ones green, others red."""
    classes = found.classes
    caption = markup.tag("caption", confusion_summary(found), cls="tt-unseen")
    corner = markup.tag("td", "label \N{DOWNWARDS ARROW} answer \N{RIGHTWARDS ARROW}")
    heads = [_head(one, "col") for one in classes]
    rows = [markup.tag("tr", corner, *heads)]
    for number, (one, counts) in enumerate(zip(classes, found.matrix(), strict=True)):
        cells = [
            _cell(one, classes[column], count, column == number)
            for column, count in enumerate(counts)
        ]
        rows.append(markup.tag("tr", _head(one, "row"), *cells))
    table = markup.tag("table", caption, *rows, cls="tt-matrix")
    return markup.div(table, cls="tt-scroll")


def _head(one: ClassAnswers, scope: str) -> markup.Markup:
    return markup.tag("th", markup.div(one.name), scope=scope, title=one.name)


def _cell(label: ClassAnswers, answer: ClassAnswers, count: int, right: bool) -> markup.Markup:
    share = count / label.images if label.images else 0.0
    colour = figures.GREEN if right else figures.RED
    shade = f"background: color-mix(in srgb, {colour} {100 * _OPAQUE * share:.0f}%, transparent)"
    title = f"{label.name} answered as {answer.name}: {count} of {label.images} images"
    return markup.tag("td", count or "", style=shade if count else "", title=title)
