"""What a specification says of an image's way into a model, as fields of its input format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab_runtime.errors import ModelError

#: What the specification calls the range of pixels that mean and std refer to: real value =
#: (pixel - first) / second.
VALUE_RANGES = {"0..255": (0.0, 1.0), "0..1": (0.0, 255.0), "-1..1": (127.5, 127.5)}
GEOMETRY_FIELDS = (
    "resize",
    "crop",
    "fit",
    "resize_size",
    "pad_colour",
    "antialias",
    "resize_last",
    "cut_rounding",
)

Values = tuple[float, ...]


def geometry(said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an InputFormat that tell how an image is resized and fitted. Numbers stand for
    pairs (`resize_size: 256`) and for one-item lists (`pad_colour: 114`)."""
    found = {field: said[field] for field in GEOMETRY_FIELDS if field in said}
    if "crop" in found:
        found["crop"] = float(found["crop"])
    size, colour = found.get("resize_size"), found.get("pad_colour")
    if size is not None:
        found["resize_size"] = (size, size) if isinstance(size, int) else tuple(size)
    if colour is not None:
        values = (colour,) if isinstance(colour, int) else tuple(colour)
        found["pad_colour"] = values[:1] if len(set(values)) == 1 else values
    return found


def in_pixels(name: str, said: object, mean: Values, std: Values) -> tuple[Values, Values]:
    """`mean` and `std` in pixels (0..255), which were given for values in the range that is `said`
    (one of VALUE_RANGES; None: nothing was said, and they are in pixels).

    Raises ModelError for an unknown range, for a mean outside the one that is said, and where
    nothing was said and a std below one grey level shows that the 0..1 scale may be meant.
    """
    if said is None:
        if any(0 < abs(value) < 1 for value in std):
            raise ModelError(f"{name}: {_two_readings(mean, std)}")
        return mean, std
    if said not in VALUE_RANGES:
        raise ModelError(
            f"{name}: input.values must be one of {', '.join(VALUE_RANGES)}, got {said!r}"
        )
    low, step = VALUE_RANGES[str(said)]
    within = [low + step * value for value in mean]
    if not all(0 <= value <= 255 for value in within):
        raise ModelError(
            f"{name}: input.mean {_listed(mean)} lies outside of input.values: {said}; leave "
            "input.values out where mean and std are in pixels (0..255)"
        )
    return tuple(low + step * value for value in mean), tuple(step * value for value in std)


def _two_readings(mean: Values, std: Values) -> str:
    scaled = [[round(255 * value, 2) for value in values] for values in (mean, std)]
    if max(mean) > 1:
        return (
            f"input.std {_listed(std)} is below one grey level, and input.mean {_listed(mean)} is "
            f"in pixels (0..255): where the std is of pixels in 0..1, it is {_listed(scaled[1])} "
            "in pixels. If both are in pixels as they stand, add input.values: 0..255"
        )
    return (
        f"input.std {_listed(std)} is below one grey level. Of pixels in 0..1, as torchvision "
        f"has them, it is mean {_listed(scaled[0])} and std {_listed(scaled[1])} in pixels: add "
        "input.values: 0..1. If it is in pixels (0..255) as it stands, add input.values: 0..255"
    )


def _listed(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values)
