"""The usual ways to prepare an image for a network, as changes of the one that is specified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trimtab_runtime.formats import InputFormat

Values = tuple[float, ...]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CLIP_MEAN, _CLIP_STD = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)


def _pixels(values: Values) -> Values:
    return tuple(255 * value for value in values)


#: Mean and std in pixels (0..255), by what people call them.
NORMALISATIONS: Mapping[str, tuple[Values, Values]] = {
    "0..1": ((0.0,), (255.0,)),
    "-1..1": ((127.5,), (127.5,)),
    "0..255": ((0.0,), (1.0,)),
    "ImageNet's mean and std": (_pixels(_IMAGENET_MEAN), _pixels(_IMAGENET_STD)),
    "(x - 127) / 128": ((127.0,), (128.0,)),
    "-128..127": ((128.0,), (1.0,)),
    "ImageNet's mean alone": (_pixels(_IMAGENET_MEAN), (1.0,)),
    "CIFAR's mean and std": (_pixels(_CIFAR_MEAN), _pixels(_CIFAR_STD)),
    "CLIP's mean and std": (_pixels(_CLIP_MEAN), _pixels(_CLIP_STD)),
    "ImageNet's mean and std of 0..1, on pixels of 0..255": (_IMAGENET_MEAN, _IMAGENET_STD),
}

_PLAIN: Mapping[str, Any] = {"crop": 1.0, "resize_size": None, "resize_last": False}
#: Ways to fit an image into the input, as fields of InputFormat. A crop of 0.875 is that of 256 to
#: 224, as torchvision has it; Ultralytics' frame is of level 114.
GEOMETRIES: Mapping[str, Mapping[str, Any]] = {
    "squash": {"fit": "squash", **_PLAIN},
    "squash, the central 87.5 %": {"fit": "squash", **_PLAIN, "crop": 0.875},
    "crop": {"fit": "crop", **_PLAIN},
    "crop, the central 87.5 %": {"fit": "crop", **_PLAIN, "crop": 0.875},
    "pad": {"fit": "pad", **_PLAIN},
    "pad with grey": {"fit": "pad", **_PLAIN, "pad_colour": (114,)},
}
#: Those that differ where images have the shape of the input.
_OF_ONE_SHAPE = ("squash", "squash, the central 87.5 %")


@dataclass(frozen=True)
class InputSetup:
    """An input format, and how it differs from the specified one: what by cause ('normalisation',
    'colour', 'geometry')."""

    format: InputFormat
    changes: Mapping[str, str] = field(default_factory=dict)


def usual_inputs(specified: InputFormat, geometry: bool) -> list[InputSetup]:
    """The specified format first, then each that differs from it in one way and in numbers; in
    all ways of `geometry` only where images are of another shape than the input, else in the part
    of the image, and that only where the specified one is not the whole."""
    found = [InputSetup(specified)]
    formats = [specified]
    for cause, name, changed in [
        *_normalised(specified),
        *_coloured(specified),
        *_fitted(specified, geometry),
    ]:
        if not any(_same(changed, known) for known in formats):
            formats.append(changed)
            found.append(InputSetup(changed, {cause: name}))
    return found


def further_inputs(base: InputSetup, geometry: bool) -> list[InputSetup]:
    """Each that differs from `base` in one way more."""
    return [
        InputSetup(setup.format, {**base.changes, **setup.changes})
        for setup in usual_inputs(base.format, geometry)[1:]
        if not base.changes.keys() & setup.changes.keys()
    ]


def _normalised(specified: InputFormat) -> list[tuple[str, str, InputFormat]]:
    """Raw pixels are all that an integer input without a scale takes."""
    if specified.dtype != "float32" and specified.quantisation is None:
        return []
    mean, std = np.array(specified.mean), np.array(specified.std)
    known: dict[str, tuple[Values, Values]] = dict(NORMALISATIONS)
    small_std, small_mean = bool((abs(std) <= 1).all()), bool((abs(mean) <= 1).all())
    if small_std and (mean != 0).any():  # with a small mean it is the whole that is misread
        means = mean * 255 if small_mean else mean
        known["mean and std times 255"] = (tuple(means.tolist()), tuple((std * 255).tolist()))
    return [
        (
            "normalisation",
            name,
            replace(
                specified,
                mean=_for(specified, values),
                std=_for(specified, deviations),
            ),
        )
        for name, (values, deviations) in known.items()
    ]


def _for(specified: InputFormat, values: Values) -> Values:
    """As many values as there are channels, or one."""
    return values if specified.channels == 3 or len(values) == 1 else (float(np.mean(values)),)


def _coloured(specified: InputFormat) -> list[tuple[str, str, InputFormat]]:
    other = {"rgb": "bgr", "bgr": "rgb"}.get(specified.colour)
    if other is None:
        return []
    name = f"{other.upper()} instead of {specified.colour.upper()}"
    changed = replace(specified, colour=other)
    # Mean and std may be meant for the colours, or for the channels as they are fed.
    turned = replace(changed, mean=specified.mean[::-1], std=specified.std[::-1])
    return [("colour", name, changed), ("colour", f"{name}, mean and std too", turned)]


def _fitted(specified: InputFormat, geometry: bool) -> list[tuple[str, str, InputFormat]]:
    whole = specified.resized == specified.size and specified.crop == 1
    names = GEOMETRIES if geometry else () if whole else _OF_ONE_SHAPE
    return [
        ("geometry", name, replace(specified, **{"pad_colour": (0,), **GEOMETRIES[name]}))
        for name in names
    ]


def _same(one: InputFormat, other: InputFormat) -> bool:
    """Whether two formats are the same up to a hundredth of a deviation."""
    if replace(one, mean=other.mean, std=other.std) != other:
        return False
    channels = np.ones(one.channels)
    a, b = np.array(one.std) * channels, np.array(other.std) * channels
    shift = np.abs(np.array(one.mean) - np.array(other.mean)) * channels
    return bool((np.abs(a / b - 1) < 0.01).all() and (shift / np.abs(b) < 0.01).all())
