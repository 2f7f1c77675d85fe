"""Closing what a file leaves open of its input's shape: from what is said, from the weights that
read the image, and by running it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

#: Sides in pixels that classifiers are trained with. A network that takes two of them takes any,
#: so small ones come first.
SIDES = (32, 64, 28, 96, 128, 160, 192, 224, 240, 256, 260, 288, 299, 320, 331, 336, 384, 448, 512)

#: Operators between an image and the first layer that leave its channels where they are.
_PASSING = {
    *("Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Div", "Identity", "Mul"),
    *("Pad", "QuantizeLinear", "Resize", "Sub", "Upsample"),
}


@dataclass(frozen=True)
class ImageShape:
    """What is known of an input: `size` (height, width) is None where the model takes several;
    then `runs_at` is one that it was run with."""

    layout: str
    channels: int
    size: tuple[int, int] | None
    runs_at: tuple[int, int]

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """The shape of one image that goes through."""
        if self.layout == "nchw":
            return (1, self.channels, *self.runs_at)
        return (1, *self.runs_at, self.channels)


Dims = Sequence[int | None]


def find_shape(
    declared: Dims | None,
    takes: Callable[[Sequence[int]], bool],
    hint: tuple[str, int] | None,
    layout: str | None,
    channels: int | None,
    size: tuple[int, int] | None,
) -> ImageShape | None:
    """The shape of an image that the model takes; None where no trial finds one.

    `declared` are the four dimensions in the file (None: open; None altogether: not even how
    many), `hint` is the (layout, channels) that the first layer tells; `layout`, `channels` and
    `size` were said, and win.
    """
    dims = list(declared) if declared is not None else [None] * 4
    if len(dims) != 4:
        return None
    for order, depth in _orders(dims, hint, layout, channels):
        sides = dims[2:] if order == "nchw" else dims[1:3]
        found: list[tuple[int, int]] = []
        for height, width in _sizes(sides, size):
            shape = ImageShape(order, depth, None, (height, width))
            if takes(shape.dims):
                found.append((height, width))
            if len(found) > 1:
                break
        if found:
            known = size or (found[0] if len(found) == 1 else None)
            return ImageShape(order, depth, known, size or found[0])
    return None


def _orders(
    dims: Dims, hint: tuple[str, int] | None, layout: str | None, channels: int | None
) -> Iterator[tuple[str, int]]:
    """Layouts and channels that fit all that is known, the likeliest first."""
    depths = (channels,) if channels else (3, 1)
    likely = [hint] if hint else []
    for order, depth in dict.fromkeys([*likely, *product(("nchw", "nhwc"), depths)]):
        told = dims[1 if order == "nchw" else 3]
        wanted = told in (None, depth) and layout in (None, order) and channels in (None, depth)
        other = dims[3 if order == "nchw" else 1]
        if wanted and not (told is None and other in (1, 3) and layout is None):
            yield order, depth


def _sizes(sides: Dims, size: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    if size is not None:
        yield size
        return
    height, width = sides
    if height is not None and width is not None:
        yield height, width
    elif height is None and width is None:
        yield from ((side, side) for side in SIDES)
    else:
        known = height or width or 0
        for side in dict.fromkeys((known, *SIDES)):
            yield (height or side, width or side)


def first_layer(image: ir.Value) -> tuple[str, int] | None:
    """The (layout, channels) that the first convolution asks of an image; None where operators
    stand between that mix its axes, or there is none."""
    value, layout = image, "nchw"
    while len(users := value.consumers()) == 1:
        node = users[0]
        if node.op_type == "Conv" and node.inputs[1] is not None:
            shape = node.inputs[1].shape
            depth = shape[1] if shape is not None and len(shape) == 4 else None
            group = node.attributes.get_int("group", 1)
            return (layout, depth * group) if isinstance(depth, int) else None
        if node.op_type == "Transpose":
            if list(node.attributes.get_ints("perm", ())) != [0, 3, 1, 2] or layout == "nhwc":
                return None
            layout = "nhwc"
        elif node.op_type not in _PASSING or value not in node.inputs:
            return None
        value = node.outputs[0]
    return None


def metadata_size(metadata: dict[str, str]) -> tuple[int, int] | None:
    """The image's (height, width) where an exporter wrote it: Ultralytics' `imgsz`."""
    digits = "".join(c if c.isdigit() else " " for c in metadata.get("imgsz", "")).split()
    sides = [int(part) for part in digits]
    if len(sides) not in (1, 2) or not all(0 < side <= 16384 for side in sides):
        return None
    return sides[0], sides[-1]


def declared_dims(image: ir.Value) -> list[int | None] | None:
    """The sides of a tensor as its file has them, None where open; None where it does not even
    tell how many."""
    if image.shape is None:
        return None
    return [side if isinstance(side, int) and side > 0 else None for side in image.shape]


def write_shape(image: ir.Value, shape: ImageShape, said: bool) -> tuple[bool, list[str]]:
    """Write what was open of the graph's input: its channels, and the size where it was `said` or
    is the only one that goes through; with a size a batch of one image too, so that all shapes
    are known. In place; returns whether something was, and what is to be told."""
    import onnx_ir as ir

    dims = declared_dims(image) or [None] * 4
    axes = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}[shape.layout]
    sides: list[int | str] = [
        side if side is not None else _axis_name(image, axis) for axis, side in enumerate(dims)
    ]
    notes, before = [], list(sides)
    if dims[axes[0]] is None:
        sides[axes[0]] = shape.channels
        notes.append(
            f"its input leaves its channels open; {shape.channels} in {shape.layout} go through"
        )
    if shape.size is not None and None in (dims[axes[1]], dims[axes[2]]):
        sides[0], sides[axes[1]], sides[axes[2]] = dims[0] or 1, *shape.size
        if not said:
            height, width = shape.size
            notes.append(f"its input leaves its size open; {height}x{width} goes through")
    if sides != before:
        image.shape = ir.Shape(sides)
    return sides != before, notes


def _axis_name(image: ir.Value, axis: int) -> str:
    """What the file calls an open axis."""
    told = image.shape[axis] if image.shape is not None else None
    return str(getattr(told, "value", None) or unnamed_axis(axis))


def unnamed_axis(axis: int) -> str:
    """What an open axis is called that the file gives no name."""
    return f"axis_{axis}"
