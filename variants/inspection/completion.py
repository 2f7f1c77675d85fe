"""What a specification says of a model's input, completed by what describes the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trimtab.variants.inspection.facts import ModelFacts
from trimtab.variants.inspection.formats import needs_normalisation
from trimtab.variants.inspection.preprocessing import in_pixels
from trimtab.variants.metadata.description import Description
from trimtab_runtime.errors import ModelError

#: Fields that only make sense together: the first source that has one of a group gives all of it.
_GROUPS = {
    "size": ("size",),
    "normalisation": ("mean", "std", "values"),
    "geometry": ("fit", "resize_size", "crop", "pad_colour", "resize_last", "cut_rounding"),
    "filter": ("resize", "antialias"),
    "colour": ("colour",),
}


@dataclass(frozen=True)
class CompletedInput:
    """`fields` are what was said and what sources add; `sources` say which source added a field,
    `notes` what was read and what was left, `contradictions` what was said otherwise than a
    source has it."""

    fields: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()


def complete_input(
    said: Mapping[str, Any], descriptions: Sequence[Description], facts: ModelFacts
) -> CompletedInput:
    """What is said of an input, and what `descriptions` (the strongest first) say of the rest.

    What the file fixes (its size, its channels), what it does for itself (a normalisation inside)
    and what its type implies wins over descriptions, and what is said wins over all.
    """
    completion = _Completion(said, facts)
    for description in descriptions:
        completion.add(description)
    return completion.result()


class _Completion:
    def __init__(self, said: Mapping[str, Any], facts: ModelFacts) -> None:
        self._said = {name: value for name, value in said.items() if value is not None}
        self._facts = facts
        self._fields = dict(self._said)
        self._sources: dict[str, str] = {}
        self._notes: list[str] = []
        self._contradictions: list[str] = []
        #: Groups that the specification or a source has settled, with the fields that do.
        self._settled: dict[str, dict[str, Any]] = {}

    def result(self) -> CompletedInput:
        return CompletedInput(
            self._fields, self._sources, tuple(self._notes), tuple(self._contradictions)
        )

    def add(self, description: Description) -> None:
        """Take over what a source says and nothing stronger said."""
        source, taken = description.source, dict[str, Any]()
        for group, names in _GROUPS.items():
            found = {name: description.input[name] for name in names if name in description.input}
            if not found:
                continue
            if any(name in self._said for name in names):
                self._compare(source, found)
            elif group in self._settled:
                self._compare_sources(source, group, found)
            elif (reason := self._needless(group, found, description.input)) is not None:
                self._notes += [f"{source} says {_listed(found)}: {reason}"] if reason else []
            else:
                taken |= found
                self._settled[group] = found
        self._fields |= taken
        self._sources |= dict.fromkeys(taken, source)
        if taken:
            self._notes.append(f"read from {source}: {_listed(taken)}")

    def _needless(
        self, group: str, found: Mapping[str, Any], whole: Mapping[str, Any]
    ) -> str | None:
        """Why fields of a source, which says the `whole`, are not needed or do not fit ('' where
        that need not be told); None where they are taken."""
        facts = self._facts
        own = facts.input_size or _pair(self._fields.get("size"))
        other = own is not None and whole.get("size", own) != own
        if group == "size" and facts.input_size is not None:
            return f"the file takes {_told(own)}" if other else ""
        if group == "geometry" and other and "resize_size" in found:
            return f"that is for an input of {_told(whole['size'])}, this one is {_told(own)}"
        if group == "normalisation":
            if facts.normalised_inside is not None and facts.dtype.startswith("float"):
                return "the graph normalises for itself, and it is not done twice"
            if not needs_normalisation(facts):
                return f"the {facts.dtype} input takes pixels as they are"
            if facts.channels == 1 and max(map(len, found.values())) > 1:
                return "the input has one channel"
        if group == "colour" and (found["colour"] == "gray") != (facts.channels == 1):
            return f"the input has {facts.channels} channel(s)"
        return None

    def _compare(self, source: str, found: Mapping[str, Any]) -> None:
        """Tell where what is said differs from what a source has."""
        said = {name: self._said[name] for name in found if name in self._said}
        if "mean" in found or "std" in found:
            if not needs_normalisation(self._facts):
                return  # and where the graph normalises, that is told against what is said
            said = _normalisation(self._said)
        other = {name: value for name, value in said.items() if not _alike(value, found[name])}
        if other:
            self._contradictions.append(
                f"input: {_listed(other)} is used as said, but {source} says "
                f"{_listed(found, tuple(other))}"
            )

    def _compare_sources(self, source: str, group: str, found: Mapping[str, Any]) -> None:
        used = self._settled[group]
        other = {
            name: v for name, v in found.items() if name in used and not _alike(v, used[name])
        }
        if other:
            self._contradictions.append(
                f"{_listed(used, tuple(other))} is used, from {self._sources[next(iter(other))]}; "
                f"{source} says {_listed(other)}"
            )


def _normalisation(said: Mapping[str, Any]) -> dict[str, Any]:
    """mean and std in pixels as they are said; empty where they cannot be told yet (which is told
    elsewhere)."""
    plain = {"mean": 0.0, "std": 1.0, **said}
    values = [tuple(np.atleast_1d(plain[name]).astype(float).tolist()) for name in ("mean", "std")]
    try:
        mean, std = in_pixels("", said.get("values"), values[0], values[1])
    except ModelError:
        return {}
    return {"mean": mean, "std": std}


def _alike(one: Any, other: Any) -> bool:
    """Equal, up to a grey level or a hundredth for numbers, which people round."""
    if isinstance(one, (str, bool)) or isinstance(other, (str, bool)):
        return bool(one == other)
    a, b = np.broadcast_arrays(np.atleast_1d(one).astype(float), np.atleast_1d(other))
    return bool(np.allclose(a, b, rtol=0.01, atol=0.5))


def _pair(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _listed(fields: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    return ", ".join(f"{n} {_told(fields[n])}" for n in (names or fields) if n in fields)


def _told(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(f"{v:.5g}" if isinstance(v, (int, float)) else str(v) for v in value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)
