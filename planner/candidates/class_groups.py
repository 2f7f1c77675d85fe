"""Members whose classes are not the job's: which of their outputs stand for which class."""

from __future__ import annotations

import dataclasses
import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from trimtab.planner.specification.sections import OutputSpec
from trimtab.workloads.images.classes import read_classes
from trimtab.workloads.images.synsets import all_of_imagenet, imagenet_synsets
from trimtab.workloads.images.text import composed, first_few
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError

Groups = tuple[tuple[int, ...], ...]


def with_job_classes(
    variant: Variant, own: int, said: OutputSpec, classes: Sequence[str]
) -> tuple[Variant, str | None]:
    """The variant as one that answers with the job's `classes`, and what to tell of that.

    `own` counts the model's classes. Without `output.classes` and `output.mapping`, a model of
    ImageNet's 1000 classes is restricted to those that the job names by WordNet ids. Raises
    ModelError where a class of the job has no output.
    """
    names = read_classes(said.classes)
    if names is None and not said.mapping:
        if own == len(classes) or own != len(imagenet_synsets()) or not all_of_imagenet(classes):
            return variant, None
        names = imagenet_synsets()
    if names is not None and len(names) != own:
        raise ModelError(
            f"output.classes names {len(names)} classes, but the model answers with {own}"
        )
    if not classes:
        raise ModelError("output.classes and output.mapping need names of the job's classes")
    groups = _groups(names, own, said.mapping or {}, classes)
    if groups == tuple((index,) for index in range(own)):
        return variant, None
    output = dataclasses.replace(variant.output, groups=groups)
    return dataclasses.replace(variant, output=output), _told(groups, own, names)


def _groups(
    names: Sequence[str] | None, own: int, mapping: Mapping[str, str], classes: Sequence[str]
) -> Groups:
    """For each of the job's classes, the model's that stand for it."""
    known = list(names) if names is not None else [str(index) for index in range(own)]
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(known):
        places[name].append(index)
    found: dict[str, list[int]] = {name: [] for name in classes}
    if len(found) < len(classes):
        raise ModelError("two classes of the job have the same name, so no output can be told")
    mapped = {composed(name): composed(to) for name, to in mapping.items()}
    for name, to in mapped.items():
        if to not in found:
            raise ModelError(f"output.mapping: {to!r} is no class of the job{_close(to, found)}")
        found[to].append(_place(name, places, "output.mapping"))
    if names is not None:
        for name in found:
            if not found[name] and name in places and name not in mapped:
                found[name].append(_place(name, places, "output.classes"))
    missing = [name for name, own_places in found.items() if not own_places]
    if missing:
        raise ModelError(
            f"{len(missing)} class(es) of the job are none of the model's: {first_few(missing)}"
            f"{_close(missing[0], places)}; say by output.mapping which of its classes stand for "
            "them"
        )
    return tuple(tuple(sorted(found[name])) for name in classes)


def _place(name: str, places: Mapping[str, Sequence[int]], where: str) -> int:
    found = places.get(name, ())
    if not found:
        raise ModelError(f"{where}: {name!r} is no class of the model{_close(name, places)}")
    if len(found) > 1:
        raise ModelError(f"{where}: {len(found)} classes of the model are called {name!r}")
    return found[0]


def _close(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _told(groups: Groups, own: int, names: Sequence[str] | None) -> str:
    used = sum(map(len, groups))
    source = "by their WordNet ids" if names == imagenet_synsets() else "by name"
    left = f"; the other {own - used} are left out and the rest renormalised" if used < own else ""
    joined = f", {used} of its outputs" if used != len(groups) else ""
    return f"answers with the job's {len(groups)} classes, found {source}{joined}{left}"
