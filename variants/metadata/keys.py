"""Descriptions made of keys and values: the metadata of an ONNX file, and what exporters put into
other files likewise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trimtab.variants.metadata.description import (
    Description,
    Unreadable,
    class_names,
    image_size,
    normalisation,
    on_either_scale,
    parsed,
)

#: Keys, whatever their case, as exporters call them; of several in a file the first counts.
_NAMES = ("names", "classes", "class_names", "labels", "id2label", "label_names", "categories")
_SIZES = ("imgsz", "image_size", "img_size", "input_size")
_MEANS = ("mean", "image_mean", "norm_mean", "input_mean", "mean_values")
_STDS = ("std", "image_std", "norm_std", "input_std", "scale_values")
_COLOURS = ("image.bitmappixelformat", "color_format", "channel_order", "color_mode", "color")
_RANGE = "image.nominalpixelrange"
#: OpenVINO's Model API means pixels of 0..255 by these.
_OF_PIXELS = ("mean_values", "scale_values")
#: ONNX's names of ranges: real value = (pixel - first) / second.
_RANGES = {
    "nominalrange_0_255": (0.0, 1.0),
    "normalized_0_1": (0.0, 255.0),
    "normalized_1_1": (127.5, 127.5),
}
_PIXEL_FORMATS = {"gray8": "gray", "rgb8": "rgb", "rgba8": "rgb", "bgr8": "bgr", "bgra8": "bgr"}
_COLOUR_WORDS = {
    **_PIXEL_FORMATS,
    **dict.fromkeys(("gray", "grey", "grayscale"), "gray"),
    "rgb": "rgb",
    "bgr": "bgr",
}


def read_keys(items: Mapping[str, Any], where: str) -> Description:
    """What keys with their values say of a model; `where` they stand goes before their names."""
    return _Keys(items).description(where)


class _Keys:
    """Reads keys one by one; what cannot be read is kept as a problem."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        #: OpenVINO writes `model_info labels`: the last word counts.
        self._items = {
            (str(k).casefold().split() or [""])[-1]: (str(k), v) for k, v in items.items()
        }
        self._used: list[str] = []
        self._problems: list[str] = []

    def description(self, where: str) -> Description:
        labels: tuple[str, ...] = self._read(_NAMES, class_names) or ()
        found: dict[str, Any] = {}
        size = self._read(_SIZES, lambda value: image_size(parsed(value)))
        if size:
            found["size"] = size
        colour = self._read(_COLOURS, _colour)
        if colour:
            found["colour"] = colour
        found.update(self._normalisation() or (self._ultralytics(size) if labels else {}))
        source = where + (f" ({', '.join(self._used)})" if self._used else "")
        problems = tuple(f"{where}: {text}" for text in self._problems)
        return Description(source, found, labels, problems)

    def _first(self, keys: tuple[str, ...]) -> str | None:
        return next((key for key in keys if key in self._items), None)

    def _read(self, keys: tuple[str, ...], read: Callable[[Any], Any]) -> Any:
        key = self._first(keys)
        if key is None:
            return None
        name, value = self._items[key]
        try:
            found = read(value)
        except Unreadable as error:
            self._problems.append(f"{name}: {error}")
            return None
        if found:
            self._used.append(name)
        return found

    def _normalisation(self) -> dict[str, Any]:
        mean, std = self._first(_MEANS), self._first(_STDS)
        if mean is None or std is None:
            return self._read((_RANGE,), _range) or {}
        values = [parsed(self._items[key][1]) for key in (mean, std)]
        names = [self._items[key][0] for key in (mean, std)]
        try:
            pixels = mean in _OF_PIXELS
            found: dict[str, Any] = dict(
                normalisation(values[0], values[1], 0.0, 1.0)
                if pixels
                else on_either_scale(values[0], values[1])
            )
        except Unreadable as error:
            self._problems.append(f"{' and '.join(names)}: {error}")
            return {}
        self._used += names
        return found

    def _ultralytics(self, size: tuple[int, int] | None) -> dict[str, Any]:
        """How Ultralytics prepares images for its classifiers, which their files do not write out:
        the shorter side and the centre (both sides where the input is no square), values 0..1."""
        said = " ".join(
            str(self._items.get(key, ("", ""))[1]) for key in ("author", "description")
        )
        task = str(self._items.get("task", ("", ""))[1])
        if "ultralytics" not in said.casefold() or task != "classify":
            return {}
        self._used.append("Ultralytics' task: classify")
        fit = "crop" if size is None or size[0] == size[1] else "squash"
        return {"mean": (0.0,), "std": (255.0,), "fit": fit, "resize": "bilinear"}


def _range(value: object) -> dict[str, Any]:
    found = _RANGES.get(str(value).casefold())
    if found is None:
        raise Unreadable(f"{value!r} is no range that can be said; known: {', '.join(_RANGES)}")
    return {"mean": found[:1], "std": found[1:]}


def _colour(value: object) -> str:
    found = _COLOUR_WORDS.get(str(value).casefold())
    if found is None:
        raise Unreadable(f"{value!r} is no known order of colours")
    return found
