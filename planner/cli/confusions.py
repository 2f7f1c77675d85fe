"""Which classes a plan takes for which, as text that fits a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.planner.reports.plan.confusions import ClassAnswers, ConfusionView
from trimtab.planner.reports.text import UNKNOWN

_WIDTH = 80
_NAME, _NARROW = 28, 20  # characters of a class's name, in a list and beside a matrix
_WORST, _PAIRS = 10, 8


def confusion_lines(found: ConfusionView) -> list[str]:
    """The recall of the classes that are worst, and the confusion matrix, or, where that is too
    wide, the most frequent confusions."""
    worst = found.worst(_WORST)
    shown = sum(1 for one in found.classes if one.images)
    few = f", the worst {len(worst)} of {shown} classes" if len(worst) < shown else ""
    lines = [f"Recall on test, class by class{few}", *_recalls(worst)]
    matrix = _matrix(found)
    if matrix:
        return [*lines, "", "Confusion matrix on test: a row a label, a column an answer", *matrix]
    pairs = found.confusions[:_PAIRS]
    if not pairs:
        return [*lines, "", "No class is taken for another."]
    more = f" of {len(found.confusions)}" if len(pairs) < len(found.confusions) else ""
    rows: list[Sequence[str]] = [("label", "answer", "images", "share")]
    for pair in pairs:
        names = (_short(found.name(index)) for index in (pair.label, pair.answer))
        rows.append((*names, str(pair.images), f"{pair.share:.0%}"))
    return [
        *lines,
        "",
        f"Most frequent confusions on test, {len(pairs)}{more}",
        *_aligned(rows, 2),
    ]


def _recalls(classes: Sequence[ClassAnswers]) -> list[str]:
    based = any(one.baseline_recall is not None for one in classes)
    rows: list[Sequence[str]] = [
        ("class", "images", "answered so", "recall", *(["baseline"] if based else []))
    ]
    for one in classes:
        base = [_share(one.baseline_recall)] if based else []
        counts = (str(one.images), str(one.answered))
        rows.append((_short(one.name), *counts, _share(one.recall), *base))
    return _aligned(rows, 1)


def _matrix(found: ConfusionView) -> list[str]:
    """No lines where it is wider than a terminal."""
    classes, counts = found.classes, found.matrix()
    numbers = [str(number) for number in range(1, len(classes) + 1)]
    names = [
        f"{number} {_short(one.name, _NARROW)}"
        for number, one in zip(numbers, classes, strict=True)
    ]
    texts = [[str(count) if count else "." for count in row] for row in counts]
    rows = [(name, *row) for name, row in zip(["", *names], [numbers, *texts], strict=True)]
    lines = _aligned(rows, 1)
    return lines if max(map(len, lines)) <= _WIDTH else []


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Columns side by side, the first `left` to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            f"{cell:<{width}}" if number < left else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def _short(name: str, most: int = _NAME) -> str:
    """With its end, in which names of one beginning differ."""
    if len(name) <= most:
        return name
    kept = most - 3
    return f"{name[: kept - kept // 2]}...{name[-(kept // 2) :]}"
