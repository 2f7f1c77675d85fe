"""timm's pretrained configuration, in a `config.json` beside a model or in the module itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trimtab.variants.metadata.description import (
    Description,
    Unreadable,
    class_names,
    image_size,
    normalisation,
    numbers,
)

_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
#: What timm does where a configuration says nothing.
_CROP, _FILTER = 0.875, "bicubic"


def read_pretrained_config(
    config: Mapping[str, Any], source: str, labels: object = None
) -> Description:
    """What a `pretrained_cfg` says, as timm's own transforms for evaluation read it; `labels` are
    the names of classes that stand beside it."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for read in (_normalised, _fitted, _filter):
        try:
            found |= read(config)
        except Unreadable as error:
            problems.append(f"{source}: {error}")
    names: tuple[str, ...] = ()
    for said in (labels, config.get("label_names")):
        try:
            names = names or (class_names(said) if said else ())
        except Unreadable as error:
            problems.append(f"{source}: label_names: {error}")
    return Description(source, found, names, tuple(problems))


def _normalised(config: Mapping[str, Any]) -> dict[str, Any]:
    mean, std = config.get("mean"), config.get("std")
    return {} if mean is None or std is None else normalisation(mean, std, 0.0, 255.0)


def _fitted(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("input_size") is None:
        return {}
    size = image_size(list(numbers(config["input_size"])))
    share = numbers(config.get("crop_pct") or _CROP)[0]
    if not 0 < share <= 1:
        raise Unreadable(f"0 < crop_pct <= 1 must hold, got {share}")
    mode = config.get("crop_mode") or "center"
    height, width = (math.floor(side / share) for side in size)
    found: dict[str, Any] = {"size": size}
    if mode == "squash":
        return {**found, "fit": "squash", "resize_size": (height, width)}
    if mode == "border":
        mean = numbers(config.get("mean") or 0.0)
        fill = tuple(round(255 * value) for value in mean)
        return {**found, "fit": "pad", "crop": share, "pad_colour": fill}
    if mode != "center":
        raise Unreadable(f"crop_mode: {mode!r} is none that can be said")
    return {**found, "fit": "crop", "crop": share}


def _filter(config: Mapping[str, Any]) -> dict[str, Any]:
    name = config.get("interpolation") or _FILTER
    if name == "random":  # while training; evaluation takes
        name = "bilinear"
    if name not in _FILTERS:
        raise Unreadable(f"interpolation: {name!r} is no filter of Pillow")
    return {"resize": name}
