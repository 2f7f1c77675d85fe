"""Class names, and what a label means among them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from trimtab.workloads.images.synsets import is_synset
from trimtab.workloads.images.text import composed, first_few, read_text
from trimtab_runtime.errors import WorkloadError

#: Without a class list, the largest index says how many classes there are: a slip must not
#: make millions of them.
MAX_CLASSES_WITHOUT_LIST = 100_000

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
#: An integer as pandas writes a column that once had a gap.
_FLOAT = re.compile(r"([+-]?[0-9]{1,18})\.0+")


def read_classes(classes: Sequence[str] | Path | None) -> tuple[str, ...] | None:
    """Class names from a list or from a text file, line i naming class i; None stays None.

    Names may repeat (ImageNet has two cranes). Raises WorkloadError for an empty list or name.
    """
    if classes is None:
        return None
    where = "classes"
    if isinstance(classes, (str, Path)):
        where = str(classes)
        classes = read_text(Path(classes)).rstrip().splitlines()
    names = tuple(composed(str(name).strip()) for name in classes)
    if not names:
        raise WorkloadError(f"{where}: names no class; write one class name a line")
    if "" in names:
        line = names.index("") + 1
        raise WorkloadError(f"{where}: line {line} is empty, but line i must name class i")
    return names


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts the numbers in names by their value: `batch_2` before `batch_10`."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(p), "") if n % 2 else (1, 0, p) for n, p in enumerate(parts) if p)


def class_orders(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Orders in which a model's outputs may stand, by what they are called: `as listed`,
    `alphabetical`, `natural` (numbers by value), `synset` (where all names are WordNet ids, as
    ImageNet's), `shifted` (the last class first). Orders that equal an earlier one are left out.
    """
    listed = tuple(names)
    orders = {
        "as listed": listed,
        "alphabetical": tuple(sorted(listed)),
        "natural": tuple(sorted(listed, key=natural)),
    }
    if listed and all(map(is_synset, listed)):
        orders["synset"] = tuple(sorted(listed, key=lambda name: int(name[1:])))
    orders["shifted"] = listed[-1:] + listed[:-1]
    found: dict[str, tuple[str, ...]] = {}
    for kind, order in orders.items():
        if order not in found.values():
            found[kind] = order
    return found


def assumed_order(folders: Sequence[str]) -> str | None:
    """What to tell of the order of class folders: None where there is no other likely one."""
    ordered = sorted(folders)
    other = sorted(folders, key=natural)
    if ordered == other:
        return None
    return (
        f"the {len(ordered)} class folders are taken in alphabetical order "
        f"({first_few(ordered, 4)}); if the model's outputs stand in natural order "
        f"({first_few(other, 4)}), as some training libraries have it, every answer is another "
        "class: give the names in the order of the outputs as `classes`"
    )


def close_names(names: Sequence[str]) -> list[str]:
    """What to tell of classes whose names differ in capitals, spaces and dashes alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[re.sub(r"[\s_-]+", "", composed(name).casefold()) or name].append(name)
    pairs = [" = ".join(sorted(found)) for found in alike.values() if len(found) > 1]
    if not pairs:
        return []
    return [
        f"classes whose names hardly differ are classes of their own: {first_few(pairs)}; if they "
        "are the same, write them alike"
    ]


def folder_labels(
    folders: Sequence[str], classes: tuple[str, ...] | None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The index of each class folder, and the classes: the sorted names, or the given list.

    Raises WorkloadError for a folder that is not in the list, and for numbers whose order is
    unclear.
    """
    spelled = {composed(folder): folder for folder in folders}
    if len(spelled) < len(folders):
        raise WorkloadError("two class folders differ only in how their accents are encoded")
    ordered = sorted(spelled)
    numbers = all(_INTEGER.fullmatch(name) for name in ordered)
    if classes is None and numbers and ordered != sorted(ordered, key=int):
        raise WorkloadError(
            f"the class folders are numbers whose alphabetical order ({first_few(ordered, 4)}) "
            "is not their order as numbers; give the class names, in the order of the model's "
            "outputs, as `classes`"
        )
    names = _Names(classes or tuple(ordered))
    return {spelled[name]: names.index_of(name, "folder") for name in ordered}, names.classes


def table_labels(
    labels: Sequence[str], classes: tuple[str, ...] | None
) -> tuple[list[int], tuple[str, ...]]:
    """Indices and classes for the texts of a label column.

    Integers (`7`, `7.0`) are class indices, anything else is a class name. Without a class list,
    names are sorted, and indices number the classes 0 to the largest. Raises WorkloadError where a
    label is outside the list, unknown or ambiguous.
    """
    labels = [_whole(composed(label), classes or ()) for label in labels]
    distinct = sorted(set(labels))
    integers = [label for label in distinct if _INTEGER.fullmatch(label)]
    names = _Names(classes or _implied_classes(distinct, integers))
    outside = sorted({int(label) for label in integers} - set(range(len(names.classes))))
    if outside:
        raise WorkloadError(
            f"0 <= label < {len(names.classes)} (the number of classes) must hold, but "
            f"{len(outside)} label(s) do not: {first_few([str(value) for value in outside])}; "
            "correct them, or give the whole class list as `classes`"
        )
    meaning = {label: names.meaning_of(label) for label in distinct}
    return [meaning[label] for label in labels], names.classes


def _whole(label: str, classes: Sequence[str]) -> str:
    """`7.0` is 7, unless a class is called so."""
    found = _FLOAT.fullmatch(label)
    return found[1] if found and label not in classes else label


def _implied_classes(distinct: list[str], integers: list[str]) -> tuple[str, ...]:
    if not integers:
        return tuple(distinct)
    if len(integers) < len(distinct):
        names = [label for label in distinct if label not in integers]
        raise WorkloadError(
            f"the label column mixes indices ({first_few(integers)}) and names "
            f"({first_few(names)}); use one of them, or give the class list as `classes`"
        )
    largest = max(int(label) for label in integers)
    if largest >= MAX_CLASSES_WITHOUT_LIST:
        raise WorkloadError(
            f"the largest label is {largest}, which makes more than {MAX_CLASSES_WITHOUT_LIST} "
            "classes; if that is meant, give the class list as `classes`"
        )
    return tuple(str(index) for index in range(largest + 1))


class _Names:
    """Class names, and where they stand; a name may stand in several places."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._places: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(classes):
            self._places[name].append(index)

    def index_of(self, name: str, what: str) -> int:
        places = self._places.get(name, [])
        if not places:
            raise WorkloadError(
                f"{what} {name!r} is none of the {len(self.classes)} classes "
                f"({first_few(self.classes)}); correct the name, or add it to the class list"
            )
        if len(places) > 1:
            raise WorkloadError(
                f"{what} {name!r} is ambiguous: {len(places)} classes bear that name; use class "
                "indices"
            )
        return places[0]

    def meaning_of(self, label: str) -> int:
        if not _INTEGER.fullmatch(label):
            return self.index_of(label, "label")
        index = int(label)
        others = self._places.get(label, [index])
        if index not in others:
            raise WorkloadError(
                f"label {label} is ambiguous: index {index} is class {self.classes[index]!r}, "
                f"but class {others[0]} is named {label!r}; use names that are no numbers"
            )
        return index
