"""Preprocessing as other libraries do it, and how Trimtab is told to do the same.

Each library's function gives its cases; importing it may fail, and is told then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from trimtab_runtime.formats import InputFormat

Array = Any
SIZE = (224, 224)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # torchvision's, in pixels
PILLOW, OTHER = 0.0, 1.0
_ROUNDING = (
    "its passes over bytes are not Pillow's: each is up to 1 level off, and at some sizes the "
    "vertical one alone up to 7"
)
_OVERSHOOT = "of bytes it cuts off overshoots between rows and columns"


@dataclass(frozen=True)
class Case:
    """`original` makes an input (H, W, 3) in grey levels of a Pillow image, `ours` is the format
    that stands for it; they may be `apart` by so many levels. Where `known` says why they are not
    the same, what they are apart is told, and nothing is asked of it."""

    name: str
    original: Callable[[Image.Image], Array]
    ours: InputFormat
    apart: float
    known: str = ""


def fmt(size: tuple[int, int] = SIZE, **said: Any) -> InputFormat:
    """An input of float pixels."""
    return InputFormat(size, mean=MEAN, std=STD, layout="nhwc", **said)


def _levels(tensor: Any) -> Array:
    """Grey levels (H, W, 3) of a tensor (3, H, W), normalised as torchvision's networks want."""
    return np.asarray(tensor, np.float64).transpose(1, 2, 0) * STD + MEAN


def pillow() -> Iterator[Case]:
    def fitted(image: Image.Image) -> Array:
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        return image.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + short, top + short))

    def resized(image: Image.Image) -> Array:
        return image.resize(SIZE, Image.Resampling.LANCZOS)

    yield Case("resize", resized, fmt(resize="lanczos"), PILLOW)
    crop = fmt(resize="bicubic", fit="crop", resize_last=True)
    yield Case("square box", fitted, crop, PILLOW)
    yield Case(
        "ImageOps.pad",
        lambda image: ImageOps.pad(image, SIZE, Image.Resampling.BILINEAR, (9, 8, 7)),
        fmt(fit="pad", pad_colour=(9, 8, 7)),
        PILLOW,
        "of an odd border it puts the half to the even pixel, LetterBox and timm always below",
    )


def opencv() -> Iterator[Case]:
    import cv2

    for name, flag in (("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)):
        yield Case(
            name,
            lambda image, flag=flag: cv2.resize(np.asarray(image), SIZE, interpolation=flag),
            fmt(resize=name, antialias=False),
            OTHER,
        )


def torchvision() -> Iterator[Case]:
    import torch
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode, v2

    bilinear, bicubic = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
    end = [
        transforms.ToTensor(),
        transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
    ]

    def of_pillow(*steps: Any) -> Callable[[Image.Image], Array]:
        composed = transforms.Compose([*steps, *end])
        return lambda image: _levels(composed(image))

    def of_tensors(*steps: Any) -> Callable[[Image.Image], Array]:
        composed = v2.Compose([v2.PILToTensor(), *steps])
        return lambda image: composed(image).permute(1, 2, 0).numpy()

    def of_floats(*steps: Any) -> Callable[[Image.Image], Array]:
        composed = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32), *steps])
        return lambda image: composed(image).clip(0, 255).permute(1, 2, 0).numpy()

    cut = transforms.CenterCrop(224)
    for name, resized, mode in (("bilinear", 256, bilinear), ("bicubic", 232, bicubic)):
        said = {"resize": name, "fit": "crop", "resize_size": (resized, resized)}
        resize = transforms.Resize(resized, mode)
        original = of_pillow(resize, cut)
        yield Case(f"Pillow, {resized} then 224, {name}", original, fmt(**said), PILLOW)
        for antialias in (True, False):
            steps = v2.Resize(resized, mode, antialias=antialias), v2.CenterCrop(224)
            kind = "antialias" if antialias else "no antialias"
            mine = fmt(antialias=antialias, **said)
            bytes_only = name == "bicubic" and not antialias
            known = _OVERSHOOT if bytes_only else _ROUNDING if name == "bicubic" else ""
            what = f"{resized} then 224, {name}, {kind}"
            yield Case(f"tensors, {what}", of_tensors(*steps), mine, OTHER, known)
            if bytes_only:
                yield Case(f"float tensors, {what}", of_floats(*steps), mine, OTHER)
    yield Case("Pillow, squash", of_pillow(transforms.Resize(SIZE, bilinear)), fmt(), PILLOW)
    wide = transforms.Resize(288, bilinear), transforms.CenterCrop((192, 256))
    mine = fmt((192, 256), fit="crop", resize_size=(288, 288))
    yield Case("Pillow, 288 then 192x256", of_pillow(*wide), mine, PILLOW)


def timm() -> Iterator[Case]:
    from timm.data import create_transform

    def of(size: tuple[int, int], **said: Any) -> Callable[[Image.Image], Array]:
        mean, std = [m / 255 for m in MEAN], [s / 255 for s in STD]
        transform = create_transform((3, *size), mean=mean, std=std, **said)
        return lambda image: _levels(transform(image))

    for percentage in (0.875, 0.9, 0.95, 1.0):
        said = {"interpolation": "bicubic", "crop_pct": percentage, "crop_mode": "center"}
        mine = fmt(resize="bicubic", fit="crop", crop=percentage)
        yield Case(f"center, {percentage}", of(SIZE, **said), mine, PILLOW)
    wide = fmt((192, 256), resize="bicubic", fit="crop", crop=0.9)
    said = {"interpolation": "bicubic", "crop_pct": 0.9}
    yield Case("center, 0.9, 192x256", of((192, 256), **said), wide, PILLOW)
    said = {"interpolation": "bilinear", "crop_pct": 0.9, "crop_mode": "squash"}
    yield Case("squash, 0.9", of(SIZE, **said), fmt(resize_size=(248, 248)), PILLOW)
    for percentage in (0.9, 1.0):
        said = {"interpolation": "bicubic", "crop_pct": percentage, "crop_mode": "border"}
        # timm fills with the mean colour, rounded
        colour = tuple(round(value) for value in MEAN)
        mine = fmt(resize="bicubic", fit="pad", crop=percentage, pad_colour=colour)
        yield Case(f"border, {percentage}", of(SIZE, **said), mine, PILLOW)


def ultralytics() -> Iterator[Case]:
    from ultralytics.data.augment import CenterCrop, LetterBox, classify_transforms

    transform = classify_transforms(size=224)
    mine = fmt(fit="crop")
    yield Case("classify", lambda image: _scaled(transform(image)), mine, PILLOW)
    letterbox = LetterBox(SIZE)
    mine = fmt(fit="pad", pad_colour=(114,), antialias=False)
    yield Case("LetterBox", lambda image: letterbox(image=np.asarray(image)), mine, OTHER)
    crop = CenterCrop(224)
    mine = fmt(fit="crop", resize_last=True, antialias=False)
    yield Case("CenterCrop", lambda image: crop(np.asarray(image)), mine, OTHER)


def _scaled(tensor: Any) -> Array:
    return np.asarray(tensor, np.float64).transpose(1, 2, 0) * 255


def keras() -> Iterator[Case]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import io

    from keras import layers, ops, utils

    def loaded(image: Image.Image, **said: Any) -> Array:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=0)
        buffer.seek(0)
        return utils.img_to_array(utils.load_img(buffer, target_size=SIZE, **said))

    def layer(**said: Any) -> Callable[[Image.Image], Array]:
        resizing = layers.Resizing(*SIZE, **said)
        return lambda image: ops.convert_to_numpy(resizing(np.asarray(image, np.float32)))

    for name in ("nearest", "bilinear", "bicubic"):
        yield Case(
            f"load_img, {name}",
            lambda image, name=name: loaded(image, interpolation=name),
            fmt(resize=name),
            PILLOW,
        )
    yield Case(
        "load_img, keep_aspect_ratio",
        lambda image: loaded(image, interpolation="bilinear", keep_aspect_ratio=True),
        fmt(fit="crop", resize_last=True),
        PILLOW,
    )
    yield Case("Resizing", layer(), fmt(antialias=False), OTHER)
    yield Case("Resizing, antialias", layer(antialias=True), fmt(), OTHER)
    crop = fmt(fit="crop", resize_last=True, antialias=False)
    yield Case("Resizing, crop_to_aspect_ratio", layer(crop_to_aspect_ratio=True), crop, OTHER)
    pad = fmt(fit="pad", resize_last=True, antialias=False)
    yield Case("Resizing, pad_to_aspect_ratio", layer(pad_to_aspect_ratio=True), pad, OTHER)


ORIGINALS: dict[str, Callable[[], Iterator[Case]]] = {
    "Pillow": pillow,
    "OpenCV": opencv,
    "torchvision": torchvision,
    "timm": timm,
    "Ultralytics": ultralytics,
    "Keras": keras,
}
