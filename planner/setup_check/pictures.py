"""Images as all members need them: decoded once, and only what was resized is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab_runtime.formats import InputFormat
from trimtab_runtime.images.preprocess import Preprocessor, decode_image, resize_key, to_tensor

Pixels = np.ndarray[Any, Any]

_LOOKED_AT = 16
_SAME_SHAPE = 0.05


class Pictures:
    """Images by number. `formats` are those that many images will be asked for: they are made of
    an image at once. Raises WorkloadError where a file cannot be read."""

    def __init__(self, paths: Sequence[str], formats: Sequence[InputFormat]) -> None:
        self._paths = paths
        self._formats = list({resize_key(fmt): fmt for fmt in formats}.values())
        self._pixels: dict[tuple[int, tuple[Any, ...]], Pixels] = {}

    def of_other_shape(self, size: tuple[int, int]) -> bool:
        """Whether most of the first images have another shape than (height, width): only then it
        matters how they are fitted into it."""
        differ = []
        for path in self._paths[:_LOOKED_AT]:
            image = decode_image(path)
            differ.append(abs(image.width * size[0] / (image.height * size[1]) - 1) > _SAME_SHAPE)
        return sum(differ) * 2 > len(differ)

    def tensor(self, number: int, fmt: InputFormat) -> Pixels:
        """The input tensor of an image, with batch axis."""
        key = (number, resize_key(fmt))
        if key not in self._pixels:
            image = Preprocessor(decode_image(self._paths[number]))
            for known in (fmt, *self._formats):
                self._pixels[number, resize_key(known)] = image.pixels(known)
        return to_tensor(self._pixels[key], fmt)
