"""What one source says of a model, and how values are read that may be written in many ways."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = tuple[float, ...]

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LARGEST_SIDE = 16384
#: Texts that are longer hold no list of classes.
_LONGEST = 2**20
#: What the name is called in an entry of a list of classes.
_NAME_KEYS = ("name", "label", "class", "display_name")
#: What exporters write where nobody gave classes names, with the class' own index.
_UNNAMED = re.compile(r"(?:LABEL_)?(\d+)")


@dataclass(frozen=True)
class Description:
    """What `source` says.

    `input` holds fields of a specification's input: size and resize_size as (height, width), mean
    and std of pixels in 0..255, the others as they are written there. `labels` name the outputs in
    their order; empty where nothing does. `problems` are sentences on what stands there and cannot
    be read.
    """

    source: str
    input: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.input or self.labels or self.problems)


class Unreadable(ValueError):
    """A value is not what its key promises."""


def parsed(text: object) -> Any:
    """A value that may be written as JSON or as Python writes it; a text where it is neither."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def numbers(value: object) -> Values:
    """Numbers of a list, of a single number, or in a text such as `[0.5 0.5 0.5]`. Raises
    Unreadable where there are none, or one is not finite."""
    several = value if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, str):
        several = [float(found) for found in _NUMBER.findall(value[:1000])]
    found = []
    for each in several:
        if isinstance(each, bool) or not isinstance(each, (int, float)):
            raise Unreadable(f"{_shortened(value)} is no number or list of numbers")
        found.append(float(each))
    if not found or not all(map(math.isfinite, found)):
        raise Unreadable(f"{_shortened(value)} is no number or list of numbers")
    return tuple(found)


def normalisation(mean: object, std: object, low: float, step: float) -> dict[str, Values]:
    """mean and std of pixels where they are given for values (pixel - low) / step. Raises
    Unreadable where they are no numbers, not as many as channels, or a std is not above 0."""
    means, stds = numbers(mean), numbers(std)
    if len(means) not in (1, 3) or len(stds) not in (1, 3):
        raise Unreadable(f"{len(means)} means and {len(stds)} stds, for 1 or 3 channels")
    if min(stds) <= 0 or step <= 0:
        raise Unreadable(f"std must be above 0, got {_shortened(std)}")
    return {
        "mean": _short(low + step * value for value in means),
        "std": _short(step * value for value in stds),
    }


def on_either_scale(mean: object, std: object) -> dict[str, Values]:
    """mean and std that do not say whether they are of values in 0..1 or of pixels: all of at most
    1 are of 0..1. Raises Unreadable, also where both readings are possible (mean 0, std 1)."""
    means, stds = numbers(mean), numbers(std)
    if set(means) == {0.0} and set(stds) == {1.0}:
        raise Unreadable("mean 0 and std 1 may be of pixels in 0..255 or in 0..1")
    small = max(map(abs, means)) <= 1 and max(stds) <= 1
    return normalisation(means, stds, 0.0, 255.0 if small else 1.0)


def image_size(value: object) -> tuple[int, int]:
    """(height, width) of a side, of [height, width], of a shape with 1 or 3 channels at an end, or
    of a dictionary with height and width. Raises Unreadable."""
    if isinstance(value, Mapping):
        value = [value.get("height", value.get("h")), value.get("width", value.get("w"))]
    sides = list(numbers(value))
    if len(sides) == 4:
        sides = sides[1:]
    if len(sides) == 3:
        sides = sides[1:] if sides[0] in (1, 3) else sides[:2]
    if len(sides) not in (1, 2) or not all(
        side == int(side) and 0 < side <= _LARGEST_SIDE for side in sides
    ):
        raise Unreadable(f"{_shortened(value)} is no size in pixels")
    return int(sides[0]), int(sides[-1])


def class_names(value: object) -> tuple[str, ...]:
    """Names in the order of outputs, of a list, or of a dictionary from index to name or from name
    to index; none where they are made up (LABEL_0, LABEL_1, ...).

    Entries of a list may be dictionaries that hold a name. Raises Unreadable where an index is
    missing or occurs twice, and where it is neither.
    """
    value = parsed(value)
    if isinstance(value, str) and value.strip():
        value = [part.strip() for part in value.split("," if "," in value else None)]
    if isinstance(value, Mapping):
        value = _by_index(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise Unreadable(f"{_shortened(value)} names no classes")
    names = tuple(str(_name(each)).strip() for each in value)
    if not all(names):
        raise Unreadable(f"the class {names.index('')} has an empty name")
    unnamed = [_UNNAMED.fullmatch(name) for name in names]
    made_up = all(found and int(found[1]) == index for index, found in enumerate(unnamed))
    return () if made_up else names


def _name(entry: object) -> object:
    """That of an entry of a list of classes, which may have more fields."""
    if not isinstance(entry, (Mapping, list, tuple)):
        return entry
    keys = [key for key in _NAME_KEYS if key in entry] if isinstance(entry, Mapping) else []
    if not keys:
        raise Unreadable(f"{_shortened(entry)} is no name of a class")
    assert isinstance(entry, Mapping)
    return entry[keys[0]]


def _by_index(names: Mapping[Any, Any]) -> list[Any]:
    unnumbered = not all(str(key).isdigit() for key in names)
    turned = bool(names) and all(
        isinstance(value, int) or (unnumbered and str(value).isdigit()) for value in names.values()
    )
    pairs = [(v, k) if turned else (k, v) for k, v in names.items()]
    try:
        placed = {int(index): name for index, name in pairs}
    except (TypeError, ValueError):
        raise Unreadable(f"{_shortened(dict(names))} has keys that are no indices") from None
    if len(placed) < len(pairs) or set(placed) != set(range(len(placed))):
        raise Unreadable(f"its {len(pairs)} classes are not numbered from 0 on")
    return [placed[index] for index in range(len(placed))]


def _short(values: Iterable[float]) -> Values:
    """Seven digits of each, one value where all are equal."""
    found = tuple(float(f"{value:.7g}") + 0.0 for value in values)
    return found[:1] if len(set(found)) == 1 else found


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
