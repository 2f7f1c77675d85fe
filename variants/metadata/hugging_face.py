"""Configurations of Hugging Face: how an image processor prepares images, and what classes are
called."""

from __future__ import annotations

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

#: Pillow's numbers of its filters.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: From this side on ConvNeXt's processor does not cut.
_CONVNEXT_UNCUT = 384
_LEVIT = 256 / 224


def read_processor(config: Mapping[str, Any], source: str) -> Description:
    """What a `preprocessor_config.json` says: rescaling, normalisation, geometry, colours.

    Keys that are missing have the defaults that all processors share (images are resized, scaled
    to 0..1, normalised); mean, std, size and filter have none.
    """
    found: dict[str, Any] = {}
    problems: list[str] = []
    for read in (_normalised, _resized, _filter, _colour):
        try:
            found |= read(config)
        except Unreadable as error:
            problems.append(f"{source}: {error}")
    return Description(source, found, problems=tuple(problems))


def read_model_config(config: Mapping[str, Any], source: str) -> Description:
    """What a `config.json` of transformers says: names of classes (id2label, or
    label2id), image size."""
    found: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    problems: list[str] = []
    named = next((key for key in ("id2label", "label2id") if config.get(key)), "")
    try:
        labels = class_names(config[named]) if named else ()
    except Unreadable as error:
        problems.append(f"{source}: {named}: {error}")
    try:
        found = {"size": image_size(config["image_size"])} if config.get("image_size") else {}
    except Unreadable as error:
        problems.append(f"{source}: image_size: {error}")
    keys = [key for key, value in ((named, labels), ("image_size", found)) if value]
    return Description(
        source + (f" ({', '.join(keys)})" if keys else ""), found, labels, tuple(problems)
    )


def _normalised(config: Mapping[str, Any]) -> dict[str, Any]:
    factor, offset = 1.0, 0.0
    if config.get("do_rescale", True):
        factor = numbers(config.get("rescale_factor", 1 / 255))[0]
        offset = 1.0 if config.get("rescale_offset") or config.get("offset") is True else 0.0
    if factor <= 0:
        raise Unreadable(f"rescale_factor must be above 0, got {factor}")
    low, step = offset / factor, 1 / factor
    if not config.get("do_normalize", not _kind(config).startswith("mobilevit")):
        return normalisation(0.0, 1.0, low, step)
    mean, std = config.get("image_mean"), config.get("image_std")
    if mean is None or std is None:
        if "do_normalize" in config or (mean is None) != (std is None):
            raise Unreadable("it normalises, but gives not both image_mean and image_std")
        return {}
    if config.get("include_top"):  # EfficientNet's processor divides twice
        std = [value * value for value in numbers(std)]
    return normalisation(mean, std, low, step)


def _kind(config: Mapping[str, Any]) -> str:
    """The processor's class, in small letters; '' where it is not told."""
    said = config.get("image_processor_type", config.get("feature_extractor_type", ""))
    return str(said).casefold()


def _resized(config: Mapping[str, Any]) -> dict[str, Any]:
    """The size that the network gets, and how images come to it."""
    size, cut = config.get("size"), config.get("crop_size")
    cuts = config.get("do_center_crop", cut is not None) and cut is not None
    if not config.get("do_resize", True) or size is None:
        return {"size": _square(cut)} if cuts else {}
    edge, both = _edge_or_both(size, cuts or "crop_pct" in config)
    share = config.get("crop_pct")
    if edge is not None and share and not cuts:  # ConvNeXt
        if edge >= _CONVNEXT_UNCUT:
            return {"size": (edge, edge), "fit": "squash"}
        return _cropped(int(edge / numbers(share)[0]), (edge, edge))
    if edge is not None:
        if not cuts:
            raise Unreadable(
                f"it resizes the shorter side to {edge} and cuts nothing, so images differ in size"
            )
        if share:  # PoolFormer
            edge = int(edge / numbers(share)[0])
        elif _kind(config).startswith("levit"):
            edge = int(_LEVIT * edge)
        return _cropped(edge, _square(cut))
    assert both is not None
    if not cuts:
        return {"size": both, "fit": "squash"}
    return _within({"size": _square(cut), "fit": "squash", "resize_size": both})


def _cropped(edge: int, size: tuple[int, int]) -> dict[str, Any]:
    return _within({"size": size, "fit": "crop", "resize_size": (edge, edge)})


def _within(found: dict[str, Any]) -> dict[str, Any]:
    if any(whole < part for whole, part in zip(found["resize_size"], found["size"], strict=True)):
        raise Unreadable(
            f"it cuts {found['size']} out of {found['resize_size']}, which is smaller"
        )
    return {**found, "cut_rounding": "down"}


def _edge_or_both(size: object, cut: bool) -> tuple[int | None, tuple[int, int] | None]:
    """The shorter side that images are resized to, or (height, width) of both sides. A number
    alone is the shorter side for processors that cut."""
    if isinstance(size, Mapping) and "height" not in size:
        if set(size) != {"shortest_edge"}:
            raise Unreadable(f"size: {dict(size)!r} is none that an input of one size can have")
        return image_size(size["shortest_edge"])[0], None
    found = image_size(size)
    return (found[0], None) if cut and isinstance(size, int) else (None, found)


def _square(value: object) -> tuple[int, int]:
    if isinstance(value, Mapping) and "shortest_edge" in value:
        value = value["shortest_edge"]
    return image_size(value)


def _filter(config: Mapping[str, Any]) -> dict[str, Any]:
    said = config.get("resample", config.get("interpolation"))
    if said is None or not config.get("do_resize", True):
        return {}
    name = _FILTERS.get(said) if isinstance(said, int) else str(said).casefold()
    if name not in _FILTERS.values():
        raise Unreadable(f"resample: {said!r} is no filter of Pillow")
    return {"resize": name}


def _colour(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"colour": "bgr"} if config.get("do_flip_channel_order") else {}
