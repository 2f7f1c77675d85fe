"""Which of a model's outputs stand for which class, by the names that describe them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Names of a first output that is no class, in small letters.
_BACKGROUND = {"background", "__background__", "???", "unlabeled", "unlabelled", "n/a", "none"}
#: How names are compared, the strictest way first: as they are; words alone; and the first of
#: several names (`tench, Tinca tinca`).
_WAYS: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: " ".join(re.split(r"[\s_-]+", name.casefold())),
    lambda name: " ".join(re.split(r"[\s_-]+", name.casefold().split(",")[0])),
)


@dataclass(frozen=True)
class LabelFit:
    """`places[i]` is the output of class i. `offset` is 1 where a background stands in front and
    the classes follow in their order; then, and where output i is class i, the fit is `plain`."""

    places: tuple[int, ...]
    offset: int
    plain: bool

    @property
    def groups(self) -> tuple[tuple[int, ...], ...] | None:
        """The same as groups of outputs; None where none are needed."""
        return None if self.plain else tuple((place,) for place in self.places)


def fit_labels(labels: Sequence[str], width: int, classes: Sequence[str]) -> LabelFit | str:
    """Where `classes` stand among the `width` outputs that `labels` name, or why that is not told.

    A single output is the score of the second of two labels, or of the only one: then places are
    0 for the class without the score and 1 for the one with it.
    """
    labels = _of_one_score(labels, classes) if width == 1 else list(labels)
    if len(labels) == width - 1 and width > 2:
        labels = ["background", *labels]
        assumed = True
    else:
        assumed = False
    if len(labels) != (2 if width == 1 else width):
        return f"it names {len(labels)} classes, but there are {width} outputs"
    for way in _WAYS:
        places = _places([way(name) for name in labels], [way(name) for name in classes])
        if places is None:
            continue
        plain = places == tuple(range(len(labels)))
        behind = places == tuple(range(1, len(labels)))
        if behind and not assumed and way(labels[0]).casefold() not in _BACKGROUND:
            behind = False
        return LabelFit(places, int(behind), plain or behind)
    known = {_WAYS[-1](name) for name in labels}
    strange = [name for name in classes if _WAYS[-1](name) not in known]
    several = "some of its names stand for several outputs"
    return f"it does not name {', '.join(map(repr, strange[:3]))}" if strange else several


def _of_one_score(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    if len(labels) == 1 and len(classes) == 2 and labels[0] in classes:
        return [next(name for name in classes if name != labels[0]), labels[0]]
    return list(labels)


def _places(labels: Sequence[str], classes: Sequence[str]) -> tuple[int, ...] | None:
    """Where each class stands; None where one is absent, or stands in several places."""
    if len(set(classes)) < len(classes):
        return None
    places: dict[str, list[int]] = {}
    for index, name in enumerate(labels):
        places.setdefault(name, []).append(index)
    found = [places.get(name, []) for name in classes]
    return tuple(each[0] for each in found) if all(len(each) == 1 for each in found) else None
