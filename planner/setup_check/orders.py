"""Where in a network's outputs each class stands: as listed, or as people usually mix it up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_SYNSET = re.compile(r"n[0-9]{8}")
#: Images of a class that must be answered with a place before that is certain to be its own.
_PLAIN = 3
#: Networks that put a background in front are asked without it.
OFFSETS = (0, 1)
#: The network's classes sorted otherwise than they are listed: by these keys of their names.
SORTINGS: Mapping[str, Callable[[str], Any]] = {
    "alphabetical": lambda name: name,
    "alphabetical, case ignored": str.casefold,
    "natural (2 before 10)": lambda name: [
        (0, int(part), "") if part.isdigit() else (1, 0, part.casefold())
        for part in re.split(r"([0-9]+)", name)
        if part
    ],
    # That of networks which were trained on ImageNet, wherever in a name the id stands.
    "by WordNet ids": lambda name: [*_SYNSET.findall(name), name],
}


@dataclass(frozen=True)
class Reading:
    """How outputs (images, width) are read: the first `offset` are background, class k stands at
    `places[k]` behind it. `changes` say how it differs from the specification, by cause."""

    offset: int
    places: Ints
    changes: Mapping[str, str] = field(default_factory=dict)

    def right(self, outputs: Floats, labels: Ints) -> NDArray[np.bool_]:
        """Whether each answer is right, (images,)."""
        found: NDArray[np.bool_] = answers(outputs, self.offset) == self.places[labels]
        return found


def answers(outputs: Floats, offset: int) -> Ints:
    """The largest output behind the background, (images,)."""
    found: Ints = np.nan_to_num(outputs[:, offset:], nan=-np.inf).argmax(1)
    return found


def usual_readings(names: Sequence[str], width: int, offset: int) -> list[Reading]:
    """The specified reading of `width` outputs first, then the usual others, each once.

    `names` are the classes as the labels count them; without any the outputs are as listed.
    """
    classes = len(names)
    found = [Reading(offset, np.arange(classes))]
    for other in OFFSETS:
        if other != offset and width - other >= classes:
            told = f"offset {other} instead of {offset}"
            found.append(Reading(other, np.arange(classes), {"offset": told}))
    for text, places in _orders(names, width - offset):
        found.append(Reading(offset, places, {"order": text}))
    unique: dict[tuple[int, ...], Reading] = {}
    for reading in found:
        unique.setdefault((reading.offset, *reading.places.tolist()), reading)
    return list(unique.values())


def _orders(names: Sequence[str], width: int) -> list[tuple[str, Ints]]:
    classes, found = len(names), list[tuple[str, Ints]]()
    if len(set(names)) == classes:
        for text, key in SORTINGS.items():
            ordered = sorted(names, key=key)
            place = {name: index for index, name in enumerate(ordered)}
            found.append((text, np.array([place[name] for name in names])))
    here = np.arange(classes)
    found.append(("shifted by one (class 0 answers as 1)", (here + 1) % width))
    found.append(("shifted by one (class 1 answers as 0)", (here - 1) % width))
    found.append(("reversed", here[::-1].copy()))
    return found


def best_permutation(predicted: Ints, labels: Ints, classes: int) -> Ints:
    """Where each class stands so that most answers are right: an assignment on the counts of
    (label, answer). A class of which nothing is known stays where it is, where that is free."""
    counts = np.zeros((classes, classes))
    inside = predicted < classes
    np.add.at(counts, (labels[inside], predicted[inside]), 1.0)
    counts[np.arange(classes), np.arange(classes)] += 0.5  # ties leave a class in its place
    found: Ints = linear_sum_assignment(counts, maximize=True)[1].astype(np.int64)
    return found


def certain(predicted: Ints, labels: Ints, places: Ints) -> bool:
    """Whether answers leave no doubt where any class stands: most images of each are answered with
    its place, by far, and at most one class has none."""
    unknown = len(places) - len(np.unique(labels))
    for label in np.unique(labels):
        counts = np.bincount(predicted[labels == label], minlength=len(places))
        own, counts[places[label]] = int(counts[places[label]]), 0
        if own < _PLAIN or own <= 2 * counts.max():
            return False
    return unknown <= 1


def cross_fitted(predicted: Ints, labels: Ints, classes: int) -> NDArray[np.bool_]:
    """Whether each answer is right by the best permutation of the *other* half of the images,
    (images,): a permutation that only fits noise gains nothing so. Halves alternate within each
    class."""
    half = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        half[np.flatnonzero(labels == label)[::2]] = True
    right = np.zeros(len(labels), bool)
    for part in (half, ~half):
        places = best_permutation(predicted[~part], labels[~part], classes)
        right[part] = predicted[part] == places[labels[part]]
    return right
