"""One door for images: whatever an application has in hand becomes the same picture.

A path, the bytes of a file, an open file and a Pillow image are turned as their EXIF orientation
says. Arrays are RGB, unless they are told to be 'bgr', as OpenCV's are. Samples of more than 8
bits are scaled by what the file declares, and refused where it declares nothing that fits. Only
FORMATS are opened, whatever a file's name says, and no more than MAX_PIXELS are decoded.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import stat
import struct
from collections.abc import Iterator
from typing import Any, Optional, Union

import numpy as np
from PIL import Image, ImageFile

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.heif import register_heif

ImageLike = Union[Image.Image, "np.ndarray[Any, Any]", str, "os.PathLike[str]", bytes, Any]

#: Pillow's names of the formats that are opened; HEIF where somebody registered a reader of it.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
for _plugin in ("Jpeg", "Png", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Avif"):
    with contextlib.suppress(ImportError):  # Pillow knows AVIF from 11.3 on
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")

#: Pixels of an image that are decoded at most (200 MB in RGB). A JPEG of more is read at a half, a
#: quarter or an eighth of its sides, as the format allows; others are refused.
MAX_PIXELS = 2**26
#: Pixels that are worked on at a time where a picture is made of several.
_STRIP = 2**22

ARRAY_COLOURS = ("rgb", "bgr")
_TAKEN = (
    "an image is given as a path, as the bytes or the open file of an image, as a Pillow image, "
    "or as an array"
)
_BEGINNING = 16  # bytes that tell a format
#: What a reader raises of a file that is of another format than it seems.
_OTHER_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)
_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
#: TIFF tags.
_BITS, _PHOTOMETRIC, _MAXIMUM = 258, 262, (341, 281)
#: Of 16-bit samples whose largest is below this, nobody knows whether they hold 16 bits.
_SHALLOW = 4096


def decode_image(
    path: Union[str, os.PathLike[str]], most_pixels: Optional[int] = None
) -> Image.Image:
    """Read a file into memory, RGB or 8-bit gray, turned as its EXIF orientation says.

    Raises WorkloadError when the file is missing, no regular file, truncated, no image, of a
    format that is not among FORMATS, of more than `most_pixels` (MAX_PIXELS; but a JPEG), or has
    deep samples of unknown scale.
    """
    name = os.fspath(path)
    try:
        with open_regular(name) as stream:
            return _opened(stream, name, most_pixels)
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{name}: cannot be read as an image ({error})") from None


def open_regular(path: Union[str, os.PathLike[str]]) -> io.BufferedReader:
    """A regular file, open to be read; no pipe or device is waited for. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    return os.fdopen(descriptor, "rb")


def as_image(
    image: ImageLike, colour: str = "rgb", most_pixels: Optional[int] = None
) -> Image.Image:
    """An RGB or 8-bit gray image of anything that :data:`ImageLike` names.

    Arrays are uint8 or uint16 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), their channels in the
    order of `colour` ('rgb' or 'bgr'). Raises WorkloadError, which says what is taken.
    """
    if colour not in ARRAY_COLOURS:
        raise WorkloadError(f"colour must be one of {', '.join(ARRAY_COLOURS)}, got {colour!r}")
    if isinstance(image, np.ndarray):
        return _from_array(image, colour)
    if colour != "rgb":
        raise WorkloadError(
            "colour tells the order of an array's channels; files and Pillow images tell their own"
        )
    if isinstance(image, Image.Image):
        try:
            return _shown(image)
        except WorkloadError as error:
            raise WorkloadError(f"the Pillow image: {error}") from None
        except _BROKEN as error:
            raise WorkloadError(f"the Pillow image cannot be read ({error})") from None
    if isinstance(image, (str, os.PathLike)):
        return decode_image(image, most_pixels)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _opened(io.BytesIO(image), f"{len(image)} bytes", most_pixels)
    if hasattr(image, "read"):
        return _opened(image, str(getattr(image, "name", "the open file")), most_pixels)
    what = type(image).__name__
    hint = " (OpenCV's imread gives None for a file that it cannot read)" if image is None else ""
    if isinstance(image, (list, tuple)):
        hint = "; give its images one by one, or to classify_all"
    raise WorkloadError(f"{_TAKEN}; got {what}{hint}")


def _opened(source: Any, name: str, most_pixels: Optional[int]) -> Image.Image:
    try:
        register_heif(name)
        with _identified(source) as opened:
            _within_limit(opened, most_pixels or MAX_PIXELS)
            shown = _shown(opened)
            found = shown.copy() if shown is opened else shown
    except WorkloadError as error:
        raise WorkloadError(f"{name}: {error}") from None
    except _BROKEN as error:
        raise WorkloadError(f"{name}: cannot be read as an image ({error})") from None
    found.info = {}  # or it would be turned again where it is given on
    return found


def _identified(source: Any) -> ImageFile.ImageFile:
    """The image of an open file, not yet decoded: what Image.open does, without its limit of
    pixels, which warns of what ours takes and refuses a JPEG that can be read smaller."""
    if not hasattr(source, "seek"):
        source = io.BytesIO(source.read())
    source.seek(0)
    beginning = source.read(_BEGINNING)
    for name in FORMATS:
        if name not in Image.OPEN:
            continue
        make, accepts = Image.OPEN[name]
        if accepts is None or accepts(beginning) is True:
            source.seek(0)
            with contextlib.suppress(*_OTHER_FORMAT):
                return make(source, "")
    raise OSError(f"cannot identify it: none of {', '.join(FORMATS)}")


def _within_limit(image: Image.Image, most: int) -> None:
    """Have a JPEG of too many pixels read smaller. Raises WorkloadError for any other."""
    width, height = image.size
    if width * height <= most:
        return
    if image.format in ("JPEG", "MPO"):
        for share in (2, 4, 8):
            if -(-width // share) * -(-height // share) <= most:
                image.draft(None, (max(1, width // share), max(1, height // share)))
                break
        if image.size[0] * image.size[1] <= most:
            return
    raise WorkloadError(
        f"it has {width} x {height} pixels, and at most {most / 1e6:.2g} million are read; "
        "scale it down, or save it as JPEG"
    )


def _shown(image: Image.Image) -> Image.Image:
    """The image in RGB or 8-bit gray, as it is to be looked at. Raises what Pillow raises, and
    WorkloadError for samples of unknown scale."""
    cut_to_bytes = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    image.load()
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    plain = _plain(image)
    if cut_to_bytes and image.mode in ("RGB", "RGBA", "CMYK"):
        extrema: Any = image.getextrema()
        _refuse_shallow(256 * max(high for _, high in extrema[:3]))
    return plain if turn is None else plain.transpose(turn)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L"):
        return image
    if image.mode == "F" or image.mode.startswith("I"):  # older Pillows say "I" for "I;16"
        return _from_deep(image)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        return _on_white(image)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise WorkloadError(f"an image of mode {image.mode} cannot be used ({error})") from None


def _from_deep(image: Image.Image) -> Image.Image:
    """8-bit gray of 12, 16 or 32 bits or floats, scaled by what the file declares."""
    tags = getattr(image, "tag_v2", {})
    largest = (float(np.ravel(tags[tag])[0]) for tag in _MAXIMUM if tag in tags)
    declared = next(filter(_is_full_scale, largest), None)
    bits = int(np.ravel(tags.get(_BITS, 16))[0])
    if declared is None and bits <= 16 and image.mode != "F":
        declared = 2.0**bits - 1
    if declared is None:
        kind = "float" if image.mode == "F" else f"{bits}-bit"
        raise WorkloadError(
            f"its {kind} samples have no scale: the file declares no full one (TIFF's "
            "SMaxSampleValue: 1, 255, 4095 ...); save it with 8 or 16 bits"
        )
    low, high = (float(value) for value in _extrema(image))
    if not 0 <= low <= high <= declared:
        raise WorkloadError(
            f"its samples go from {low:g} to {high:g}, outside of the declared 0 to {declared:g}"
        )
    if declared == 65535 and image.format != "PPM":  # Pillow scales PPM to 16 bits
        _refuse_shallow(high)
    top = declared if image.mode == "F" else declared + 1
    gray = np.empty(image.size[::-1], np.uint8)
    for first, strip in _strips(image):
        values: Any = np.asarray(strip, np.float64 if image.mode == "F" else np.int64)
        gray[first : first + strip.size[1]] = np.minimum(values * 256 // top, 255)
    return Image.fromarray(255 - gray if tags.get(_PHOTOMETRIC) == 0 else gray)


def _extrema(image: Image.Image) -> tuple[Any, Any]:
    """Least and largest sample; NaN where one is."""
    strips = [np.asarray(strip) for _, strip in _strips(image)]
    return min(strip.min() for strip in strips), max(strip.max() for strip in strips)


def _on_white(image: Image.Image) -> Image.Image:
    """RGB of what is partly transparent."""
    found = Image.new("RGB", image.size)
    for first, strip in _strips(image):
        layer = strip.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        found.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, first))
    return found


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture from top to bottom, with the row where each part begins."""
    width, height = image.size
    rows = max(1, _STRIP // width)
    for first in range(0, height, rows):
        yield first, image.crop((0, first, width, min(height, first + rows)))


def _is_full_scale(largest: float) -> bool:
    """1, 255, 4095 and so on. Any other is the largest value of this very picture, which tells
    nothing of the scale that it shares with others."""
    return largest >= 1 and math.log2(largest + 1).is_integer()


def _refuse_shallow(largest: float) -> None:
    """16-bit samples that never come near 16 bits would make a black picture."""
    if 0 < largest < _SHALLOW:
        raise WorkloadError(
            f"its 16-bit samples end at {largest:.0f}: they are of fewer bits, and the file does "
            "not say how many; scale them to 8 or to 16 bits"
        )


def _from_array(array: np.ndarray[Any, Any], colour: str) -> Image.Image:
    shape = array.shape
    fits = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    whole = array.dtype.kind == "u" and array.dtype.itemsize <= 2
    if not (array.size and fits and whole):
        raise WorkloadError(
            "an image array must be uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {shape}{_array_hint(array)}"
        )
    if array.dtype.itemsize == 2:
        _refuse_shallow(float(array.max()))
        array = (array >> 8).astype(np.uint8)
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    elif array.ndim == 3 and colour == "bgr":
        array = array[:, :, [2, 1, 0, 3][: shape[2]]]
    return _plain(Image.fromarray(array))


def _array_hint(array: np.ndarray[Any, Any]) -> str:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return "; channels come last: array.transpose(1, 2, 0)"
    if array.ndim == 4:
        return "; give the images of a batch one by one, or to classify_all"
    if array.dtype.kind == "f":
        return "; floats tell no scale: (array * 255).round().astype('uint8') where they end at 1"
    return ""
