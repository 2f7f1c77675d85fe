"""From a decoded image to a model's input tensor. Pillow resizes; NumPy does the rest."""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.formats import InputFormat
from trimtab_runtime.images.decoding import ImageLike, as_image, decode_image
from trimtab_runtime.images.geometry import fitted, resize_key, resized_pixels

__all__ = [
    "ImageLike",
    "Preprocessor",
    "as_image",
    "decode_image",
    "prepare",
    "resize_key",
    "to_tensor",
]

#: Pixels a side of thumbnails, and at most so many a side are looked at to make one.
THUMBNAIL_SIDE = 8
_LOOKED_AT = 128


class Preprocessor:
    """One image on its way through a plan: what two stages share is computed once.

    `colour` is the order of an array's channels; of a file no more than `most_pixels` are decoded.
    Raises WorkloadError as :func:`trimtab_runtime.images.decoding.as_image`.
    """

    def __init__(
        self, image: ImageLike, colour: str = "rgb", most_pixels: Optional[int] = None
    ) -> None:
        self._image = as_image(image, colour, most_pixels)
        self._resized: dict[tuple[Any, ...], np.ndarray[Any, Any]] = {}
        self._pixels: dict[tuple[Any, ...], np.ndarray[Any, Any]] = {}
        self._tensors: list[tuple[InputFormat, np.ndarray[Any, Any]]] = []
        self._thumbnail: Optional[np.ndarray[Any, Any]] = None

    def tensor(self, fmt: InputFormat) -> np.ndarray[Any, Any]:
        """The input tensor, with batch axis: (1, C, H, W) or (1, H, W, C)."""
        for known, tensor in self._tensors:  # mostly the very object: hashing it takes longer
            if known is fmt or known == fmt:
                return tensor
        made = to_tensor(self.pixels(fmt), fmt)
        self._tensors.append((fmt, made))
        return made

    def rgb(self) -> np.ndarray[Any, Any]:
        """The image itself as uint8 (H, W, 3)."""
        image = self._image if self._image.mode == "RGB" else self._image.convert("RGB")
        return np.asarray(image)

    def thumbnail(self) -> np.ndarray[Any, Any]:
        """The image as float32 (3 * THUMBNAIL_SIDE**2,): means of its parts, row by row, RGB."""
        if self._thumbnail is None:
            self._thumbnail = _thumbnail(self._image)
        return self._thumbnail

    def pixels(self, fmt: InputFormat) -> np.ndarray[Any, Any]:
        """The image fitted into the input's size, as uint8 (H, W, C)."""
        resized = resize_key(fmt)
        key = (resized, fmt.size, fmt.pad_colour)
        found = self._pixels.get(key)
        if found is None:
            whole = self._resized.get(resized)
            if whole is None:
                whole = self._resized[resized] = resized_pixels(self._image, fmt)
            found = self._pixels[key] = fitted(whole, fmt)
        return found


def prepare(
    image: Union[ImageLike, Preprocessor], colour: str = "rgb", most_pixels: Optional[int] = None
) -> Preprocessor:
    """An image as it is, or already prepared. Raises WorkloadError."""
    if isinstance(image, Preprocessor):
        return image
    return Preprocessor(image, colour, most_pixels)


def _thumbnail(image: Image.Image) -> np.ndarray[Any, Any]:
    """Reading all of a large image would cost more than many a network."""
    size = min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)
    if size != image.size:
        image = image.resize(size, Image.Resampling.NEAREST)
    if image.mode != "RGB":
        image = image.convert("RGB")
    small = image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1)


def to_tensor(pixels: np.ndarray[Any, Any], fmt: InputFormat) -> np.ndarray[Any, Any]:
    """Normalise, quantise and lay out resized pixels (H, W, C) as `fmt` says."""
    if fmt.colour == "bgr":
        pixels = pixels[:, :, ::-1]
    if fmt.layout == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    plain = set(fmt.mean) == {0.0} and set(fmt.std) == {1.0}
    if fmt.dtype == "uint8" and plain:
        tensor = pixels
    elif fmt.dtype == "int8" and plain:
        tensor = (pixels ^ np.uint8(128)).view(np.int8)
    else:
        tensor = _normalise(pixels, fmt)
    return np.ascontiguousarray(tensor)[None]


def _normalise(pixels: np.ndarray[Any, Any], fmt: InputFormat) -> np.ndarray[Any, Any]:
    shape = (-1, 1, 1) if fmt.layout == "nchw" else (1, 1, -1)
    mean = np.array(fmt.mean, np.float32).reshape(shape)
    scale = np.array([1.0 / s for s in fmt.std], np.float32).reshape(shape)
    values = np.empty(pixels.shape, np.float32)
    np.subtract(pixels, mean, out=values)
    values *= scale
    if fmt.dtype in ("float32", "float16"):
        return values.astype(fmt.dtype, copy=False)
    if fmt.quantisation is None:
        raise WorkloadError(f"a {fmt.dtype} input with mean and std needs a quantisation")
    limits = np.iinfo(fmt.dtype)
    values *= np.float32(1.0 / fmt.quantisation.scale)
    values += np.float32(fmt.quantisation.zero_point)
    return np.clip(np.rint(values, out=values), limits.min, limits.max).astype(fmt.dtype)
