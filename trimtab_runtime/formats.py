"""What goes into a model and what comes out of it. Plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

import numpy as np

RESIZE_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
LAYOUTS = ("nchw", "nhwc")
DTYPES = ("float32", "float16", "uint8", "int8")
COLOURS = ("rgb", "bgr", "gray")
OUTPUT_KINDS = ("logits", "probabilities")
CUT_ROUNDINGS = ("even", "down")
FITS = ("squash", "crop", "pad", "inside")
#: Filters that can sample without antialiasing: the others are means over an area by nature.
POINT_FILTERS = ("nearest", "bilinear", "bicubic")
LARGEST_SIDE = 16384


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class Quantisation:
    """real = (stored - zero_point) * scale."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale > 0 must hold, got {self.scale}")
        if not -(2**31) <= self.zero_point < 2**31:
            raise ValueError(f"zero_point must fit 32 bits, got {self.zero_point}")


@dataclass(frozen=True)
class InputFormat:
    """How a decoded image becomes the model's input tensor.

    The image is resized and fitted into `size` (height, width), put into `colour` order, and each
    channel becomes (pixel - mean) / std. `mean` and `std` are in units of pixels (0..255). A
    quantised input is then stored by its `quantisation`; with mean 0 and std 1, uint8 takes the
    pixel itself and int8 the pixel - 128.

    How an image of another shape is fitted:

    - `squash`: both sides are resized for themselves. A `crop` below 1 first takes the central
      share of each side; with a `resize_size`, `size` is cut from its centre afterwards.
    - `crop`: it is resized to cover `resize_size` (height, width; else `size` / `crop`, rounded
      down), and `size` is cut from its centre.
    - `inside`: it is not: the graph takes images of any size and resizes them itself. `size` is
      then only one that it was tried with.
    - `pad`: it is resized to lie within `resize_size` (as before), and `size` is filled up with
      `pad_colour` (RGB, or one value) around it.

    Where an odd number of pixels is cut off, the offset is a half, rounded to the `even` pixel or
    `down`: `cut_rounding`.

    With `resize_last` the image is cut or padded to the shape of `size` first, in whole pixels of
    its own, and then resized. `antialias` False samples single pixels where it shrinks an image.
    """

    size: tuple[int, int]
    resize: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"
    dtype: str = "float32"
    colour: str = "rgb"
    crop: float = 1.0
    quantisation: Optional[Quantisation] = None
    fit: str = "squash"
    resize_size: Optional[tuple[int, int]] = None
    pad_colour: tuple[int, ...] = (0,)
    antialias: bool = True
    resize_last: bool = False
    cut_rounding: str = "even"

    def __post_init__(self) -> None:
        one_of("resize", self.resize, RESIZE_FILTERS)
        one_of("layout", self.layout, LAYOUTS)
        one_of("dtype", self.dtype, DTYPES)
        one_of("colour", self.colour, COLOURS)
        one_of("fit", self.fit, FITS)
        one_of("cut_rounding", self.cut_rounding, CUT_ROUNDINGS)
        if min(self.size) < 1 or max(self.size) > LARGEST_SIDE:
            raise ValueError(f"1 <= size <= {LARGEST_SIDE} must hold, got {self.size}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"0 < crop <= 1 must hold, got {self.crop}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} needs {self._counts()}")
        if any(value == 0 for value in self.std):
            raise ValueError(f"std must not be zero, got {self.std}")
        self._check_geometry()

    def _check_geometry(self) -> None:
        """What of the geometry goes together."""
        if self.fit == "inside" and (self.resize_size, self.crop, self.resize_last) != (
            None,
            1,
            False,
        ):
            raise ValueError("fit: inside leaves no place for resize_size, crop and resize_last")
        if self.resize_size is not None:
            if self.crop != 1 or self.resize_last:
                other = "resize_last" if self.resize_last else "crop"
                raise ValueError(f"give either resize_size or {other}")
            if self.fit != "pad" and any(r < s for r, s in zip(self.resize_size, self.size)):
                raise ValueError(
                    f"resize_size >= size must hold, got {self.resize_size} and {self.size}"
                )
        if min(self.resized) < 1 or max(self.resized) > LARGEST_SIDE:
            raise ValueError(f"1 <= resize_size <= {LARGEST_SIDE} must hold, got {self.resized}")
        if self.resize_last and (self.fit == "squash" or (self.fit == "pad" and self.crop != 1)):
            raise ValueError("resize_last is for fit: crop, and for fit: pad without a crop")
        if len(self.pad_colour) not in (1, self.channels):
            raise ValueError(f"pad_colour needs {self._counts()}")
        if not all(0 <= value <= 255 for value in self.pad_colour):
            raise ValueError(f"0 <= pad_colour <= 255 must hold, got {self.pad_colour}")
        if self.fit != "pad" and self.pad_colour != (0,):
            raise ValueError("pad_colour is for fit: pad")
        if not self.antialias and self.resize not in POINT_FILTERS:
            raise ValueError(f"antialias: false is for {', '.join(POINT_FILTERS)}")

    def _counts(self) -> str:
        return "1 value" if self.channels == 1 else f"1 or {self.channels} values"

    @property
    def channels(self) -> int:
        return 1 if self.colour == "gray" else 3

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width that an image is resized to, covers or lies within."""
        if self.resize_size is not None:
            return self.resize_size
        if self.fit in ("squash", "inside") or self.resize_last:
            return self.size
        height, width = (math.floor(side / self.crop) for side in self.size)
        return height, width


@dataclass(frozen=True)
class OutputFormat:
    """What the model's output vector means. The first `offset` entries are background.

    `groups[i]` are the model's own classes (counted behind the background) that stand for class i
    of the plan; None where they are the same. What is in no group is left out.

    A model that gives a single score, that of the second of two classes, has a `threshold`: from
    this probability on it is the second class.
    """

    kind: str = "logits"
    offset: int = 0
    quantisation: Optional[Quantisation] = None
    groups: Optional[tuple[tuple[int, ...], ...]] = None
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, OUTPUT_KINDS)
        if self.offset < 0:
            raise ValueError(f"offset >= 0 must hold, got {self.offset}")
        if self.threshold is not None:
            if not 0 < self.threshold < 1:
                raise ValueError(f"0 < threshold < 1 must hold, got {self.threshold}")
            if self.offset:
                raise ValueError("a single score has no background class: offset must be 0")
        if self.groups is None:
            return
        own = [index for group in self.groups for index in group]
        if len(self.groups) < 2 or not all(self.groups):
            raise ValueError("groups must be two or more, each with a class of the model")
        if min(own) < 0 or len(set(own)) < len(own):
            raise ValueError("a class of the model stands in one group, and is 0 or more")

    @cached_property
    def group_indices(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The model's classes in the order of the groups, and where each group begins."""
        groups = self.groups or ()
        order = np.array([index for group in groups for index in group], np.intp)
        starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
        return order, starts.astype(np.intp)
