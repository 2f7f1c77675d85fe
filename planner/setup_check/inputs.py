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

#: Ways to fit an image into the input, as fields of InputFormat.
GEOMETRIES: Mapping[str, Mapping[str, Any]] = {
    "the central 87.5 %": {"crop": 0.875},
    "the whole image": {"crop": 1.0},
}


@dataclass(frozen=True)
class InputSetup:
    """An input format, and how it differs from the specified one: what by cause ('normalisation',
    'colour', 'geometry')."""

    format: InputFormat
    changes: Mapping[str, str] = field(default_factory=dict)


def usual_inputs(specified: InputFormat, geometry: bool) -> list[InputSetup]:
    """The specified format first, then each that differs from it in one way and in numbers; in
    `geometry` only where images may be fitted into the input in several ways."""
    found = [InputSetup(specified)]
    formats = [specified]
    for cause, name, changed in [
        *_normalised(specified),
        *_coloured(specified),
        *(_fitted(specified) if geometry else ()),
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


def _fitted(specified: InputFormat) -> list[tuple[str, str, InputFormat]]:
    found = []
    for name, changes in GEOMETRIES.items():
        try:
            found.append(("geometry", name, replace(specified, **changes)))
        except ValueError:  # fields that do not go together with what is specified
            continue
    return found


def _same(one: InputFormat, other: InputFormat) -> bool:
    """Whether two formats are the same up to a hundredth of a deviation."""
    if replace(one, mean=other.mean, std=other.std) != other:
        return False
    channels = np.ones(one.channels)
    a, b = np.array(one.std) * channels, np.array(other.std) * channels
    shift = np.abs(np.array(one.mean) - np.array(other.mean)) * channels
    return bool((np.abs(a / b - 1) < 0.01).all() and (shift / np.abs(b) < 0.01).all())
