"""From a decoded image to a model's input tensor. Pillow resizes; NumPy does the rest."""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np
from PIL import Image, ImageOps

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.formats import InputFormat

#: Pixels a side of thumbnails, and at most so many a side are looked at to make one.
THUMBNAIL_SIDE = 8
_LOOKED_AT = 128

ImageLike = Union[Image.Image, "np.ndarray[Any, Any]", str]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def decode_image(path: str) -> Image.Image:
    """Read a file into memory, turned as its EXIF tag says.

    Raises WorkloadError when the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened)
            turned.load()
            return as_image(turned)
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorkloadError(f"{path}: cannot be read as an image ({error})") from None


def as_image(image: ImageLike) -> Image.Image:
    """An RGB or 8-bit gray image of a path, a Pillow image or a uint8 array (H, W[, C])."""
    if isinstance(image, str):
        return decode_image(image)
    if isinstance(image, np.ndarray):
        whole = image.size and image.dtype == np.uint8
        if not whole or (image.ndim != 2 and image.shape[2:] not in ((3,), (4,))):
            raise WorkloadError(
                "an image array must be uint8 (H, W) or (H, W, 3), got "
                f"{image.dtype} {image.shape}"
            )
        image = Image.fromarray(image)
    if image.mode in ("RGB", "L"):
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel; older Pillows say "I" where it is "I;16"
        scaled = np.clip(np.asarray(image, dtype=np.int64), 0, 65535) >> 8
        return Image.fromarray(scaled.astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise WorkloadError(f"an image of mode {image.mode} cannot be used ({error})") from None


class Preprocessor:
    """One image on its way through a plan: what two stages share is computed once."""

    def __init__(self, image: ImageLike) -> None:
        self._image = as_image(image)
        self._pixels: dict[tuple[Any, ...], np.ndarray] = {}
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
        """The resized image as uint8 (H, W, C)."""
        key = resize_key(fmt)
        found = self._pixels.get(key)
        if found is None:
            found = self._pixels[key] = _resize(self._image, fmt)
        return found


def _thumbnail(image: Image.Image) -> np.ndarray[Any, Any]:
    """Reading all of a large image would cost more than many a network."""
    size = min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)
    if size != image.size:
        image = image.resize(size, Image.Resampling.NEAREST)
    if image.mode != "RGB":
        image = image.convert("RGB")
    small = image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1)


def resize_key(fmt: InputFormat) -> tuple[Any, ...]:
    """Two formats with the same key share one resize."""
    return (fmt.size, fmt.resize, fmt.crop, "gray" if fmt.colour == "gray" else "rgb")


def _resize(image: Image.Image, fmt: InputFormat) -> np.ndarray[Any, Any]:
    mode = "L" if fmt.colour == "gray" else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    height, width = fmt.size
    if fmt.crop < 1:
        w, h = image.width * fmt.crop, image.height * fmt.crop
        left, top = (image.width - w) / 2, (image.height - h) / 2
        box = (left, top, left + w, top + h)
        image = image.resize((width, height), _FILTERS[fmt.resize], box=box)
    elif image.size != (width, height):
        image = image.resize((width, height), _FILTERS[fmt.resize])
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


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
