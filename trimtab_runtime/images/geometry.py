"""How an image of any shape becomes pixels of a model's input size.

Pillow resizes, with its antialiasing filters; NumPy samples without them, as OpenCV, PyTorch's
tensors and TensorFlow do by default. Sizes and offsets are rounded as the originals round them,
which `benchmarks/preprocess_parity.py` compares:

- cover: torchvision's `Resize(256)` (the longer side is rounded down); with another shape than a
  square timm's `ResizeKeepRatio` (both are rounded).
- within: Ultralytics' `LetterBox` and timm's `border` mode (the shorter side is rounded).
- a cut's offset: torchvision's `CenterCrop` (halves to the even pixel) or, with `cut_rounding`
  'down', transformers' `center_crop`. A frame's: the smaller half comes first.
- with `resize_last`: Keras' `crop_to_aspect_ratio` and `pad_to_aspect_ratio` (rounded down).
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from PIL import Image

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.formats import InputFormat

Pixels = Any  # uint8 (H, W, C)
#: Left, upper, right and lower edge in pixels of the image.
Box = tuple[float, float, float, float]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
#: Of the cubic kernel without antialiasing, as OpenCV and PyTorch have it.
_CUBIC = -0.75
#: More an image may not have before it is cut (a strip of 1 x 1000 pixels at 256 has as many).
MOST_PIXELS = 2**26


def resize_key(fmt: InputFormat) -> tuple[Any, ...]:
    """Two formats with the same key share one resize, which they may cut or frame differently."""
    own = (fmt.size, fmt.crop, fmt.pad_colour) if fmt.resize_last else fmt.crop
    shared = own if fmt.resize_last or fmt.fit == "squash" else 1.0
    gray = "gray" if fmt.colour == "gray" else "rgb"
    return (fmt.fit, fmt.resized, fmt.resize, fmt.antialias, shared, gray)


def resized_pixels(image: Image.Image, fmt: InputFormat) -> Pixels:
    """The whole image resized, before it is cut or framed: uint8 (H, W, C). Raises WorkloadError
    for an image so long that this would fill the memory."""
    mode = "L" if fmt.colour == "gray" else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if fmt.fit == "inside":
        if image.width * image.height > MOST_PIXELS:
            raise _too_long(image, fmt, (image.height, image.width))
        return _resize(image, (image.height, image.width), fmt)
    if fmt.resize_last and fmt.fit == "pad":
        return _resize(_framed(image, fmt), fmt.size, fmt)
    if fmt.resize_last and fmt.antialias:  # Pillow's filters look beyond the edges of a box
        return _resize(image, fmt.size, fmt, _centre(image, fmt))
    if fmt.resize_last:
        return _resize(image.crop(_centre(image, fmt)), fmt.size, fmt)
    if fmt.fit == "squash":
        return _resize(image, fmt.resized, fmt, _share(image, fmt.crop))
    size = _covering(image, fmt) if fmt.fit == "crop" else _within(image, fmt)
    if size[0] * size[1] > MOST_PIXELS:
        raise _too_long(image, fmt, size)
    return _resize(image, size, fmt)


def _too_long(image: Image.Image, fmt: InputFormat, size: tuple[int, int]) -> WorkloadError:
    return WorkloadError(
        f"an image of {image.width}x{image.height} is too long for fit: {fmt.fit}: on its way to "
        f"{fmt.size[1]}x{fmt.size[0]} it would have {size[0] * size[1]} pixels (at most "
        f"{MOST_PIXELS}); cut it before"
    )


def fitted(pixels: Pixels, fmt: InputFormat) -> Pixels:
    """Resized pixels cut or framed to the input's size: uint8 (height, width, C)."""
    height, width = fmt.size
    if pixels.shape[:2] == fmt.size or fmt.fit == "inside":
        return pixels
    top, left = (_cut_offset(n, size, fmt) for n, size in zip(pixels.shape, fmt.size))
    pixels = pixels[top : top + height, left : left + width]
    if pixels.shape[:2] == fmt.size:
        return pixels
    framed = np.empty((height, width, pixels.shape[2]), np.uint8)
    framed[:] = np.array(fmt.pad_colour, np.uint8)
    top, left = ((size - n) // 2 for n, size in zip(pixels.shape, fmt.size))
    framed[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return framed


def _cut_offset(length: int, size: int, fmt: InputFormat) -> int:
    more = max(length - size, 0)
    return more // 2 if fmt.cut_rounding == "down" else round(more / 2)


def _covering(image: Image.Image, fmt: InputFormat) -> tuple[int, int]:
    height, width = fmt.resized
    if height == width:
        short, long = sorted(image.size)
        longer = int(height * long / short)
        return (longer, height) if image.width <= image.height else (height, longer)
    ratio = min(image.height / height, image.width / width)
    return max(round(image.height / ratio), height), max(round(image.width / ratio), width)


def _within(image: Image.Image, fmt: InputFormat) -> tuple[int, int]:
    height, width = fmt.resized
    ratio = max(image.height / height, image.width / width)
    return max(round(image.height / ratio), 1), max(round(image.width / ratio), 1)


def _share(image: Image.Image, share: float) -> Optional[Box]:
    """The central share of each side; None: all of it."""
    if share == 1:
        return None
    w, h = image.width * share, image.height * share
    left, top = (image.width - w) / 2, (image.height - h) / 2
    return left, top, left + w, top + h


def _centre(image: Image.Image, fmt: InputFormat) -> tuple[int, int, int, int]:
    """The largest box of the input's shape, and of it the central share, in whole pixels."""
    height, width = fmt.size
    w = min(image.width, max(int(image.height * width / height), 1))
    h = min(image.height, max(int(image.width * height / width), 1))
    w, h = max(int(w * fmt.crop), 1), max(int(h * fmt.crop), 1)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return left, top, left + w, top + h


def _framed(image: Image.Image, fmt: InputFormat) -> Image.Image:
    """The image in the smallest frame of the input's shape, as wide on both sides of it (so where
    an odd number of pixels is missing, one pixel less than that)."""
    height, width = fmt.size
    across = max(int(image.height * width / height) - image.width, 0) // 2
    down = max(int(image.width * height / width) - image.height, 0) // 2
    size, bands = (image.width + 2 * across, image.height + 2 * down), len(image.getbands())
    if size[0] * size[1] > MOST_PIXELS:
        raise _too_long(image, fmt, size)
    frame = Image.new(image.mode, size, (fmt.pad_colour * bands)[:bands])
    frame.paste(image, (across, down))
    return frame


def _resize(
    image: Image.Image, size: tuple[int, int], fmt: InputFormat, box: Optional[Box] = None
) -> Pixels:
    height, width = size
    if box is None and image.size == (width, height):
        pixels = np.asarray(image)
    elif fmt.antialias or fmt.resize == "nearest":
        pixels = np.asarray(image.resize((width, height), _FILTERS[fmt.resize], box=box))
    else:
        pixels = sampled(np.asarray(image), size, fmt.resize, box or (0, 0, *image.size))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def sampled(pixels: Pixels, size: tuple[int, int], resize: str, box: Box) -> Pixels:
    """Pixels uint8 (H, W[, C]) of a box at `size` (height, width) without antialiasing: each is a
    mean of the 2 ('bilinear') or 4 ('bicubic') nearest a side, at pixels' centres."""
    left, top, right, low = box
    rows, down = _taps(pixels.shape[0], top, low, size[0], resize)
    columns, across = _taps(pixels.shape[1], left, right, size[1], resize)
    near = pixels.reshape(*pixels.shape[:2], -1).take(rows.ravel(), axis=0)
    near = near.take(columns.ravel(), axis=1)
    near = near.reshape(*rows.shape, *columns.shape, -1).astype(np.float32)
    values = np.einsum("hiwjc,hi,wj->hwc", near, down, across, optimize=True)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _taps(length: int, start: float, end: float, count: int, resize: str) -> tuple[Any, Any]:
    """Which pixels of an axis are read for each of `count`, and their weights, (count, taps)."""
    centres = start + (np.arange(count) + 0.5) * ((end - start) / count) - 0.5
    first = np.floor(centres)
    part = (centres - first)[:, None]
    if resize == "bilinear":
        offsets, weights = np.arange(0, 2), np.hstack([1 - part, part])
    else:
        offsets = np.arange(-1, 3)
        away = np.abs(part - offsets)
        inner = ((_CUBIC + 2) * away - (_CUBIC + 3)) * away**2 + 1
        outer = _CUBIC * (((away - 5) * away + 8) * away - 4)
        weights = np.where(away <= 1, inner, outer)
    places = first[:, None].astype(np.int64) + offsets
    return places.clip(0, length - 1), weights.astype(np.float32)
