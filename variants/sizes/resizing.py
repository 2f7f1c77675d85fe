"""The same network for images of another size: the same weights, other shapes.

A graph allows it where nothing in it is of one size: it pools over whatever is left, and reshapes
by names of axes, not by numbers. That cannot be read off it with certainty, so it is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.dataflow import NotCuttable, read_flow, tensor_shapes
from trimtab.variants.files.onnx import load_onnx, read_graph
from trimtab.variants.files.watchdog import step
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab_runtime.definitions.plan import InputFormat, Variant
from trimtab_runtime.errors import ModelError

Size = tuple[int, int]

#: Shares of a side that are tried where nobody lists sizes.
SHARES = (0.86, 0.75)
_STRIDES = (2, 64)


@dataclass(frozen=True)
class SizeTrial:
    """A (height, width) that a network was tried with; `reason` says why it does not run so ('':
    it does)."""

    size: Size
    reason: str = ""


def resized_input(fmt: InputFormat, size: Size) -> InputFormat:
    """How an image becomes an input of another `size`: as before, with what is said in pixels of
    the input made smaller alike."""
    resized = fmt.resize_size
    if resized is not None:
        parts = zip(resized, fmt.size, size, strict=True)
        least = 0 if fmt.fit == "pad" else 1  # what is cut must not be larger than the image
        height, width = (max(round(r * new / own), least * new) for r, own, new in parts)
        resized = (height, width)
    return replace(fmt, size=size, resize_size=resized)


def why_one_size(variant: Variant) -> str:
    """Why a variant is not tried with other sizes, whatever its graph; '' where it may be."""
    if variant.format != "onnx":
        return f"{variant.format} files are of one size here, only ONNX graphs are made for others"
    if variant.input.fit == "inside":
        return "its graph resizes images to a size of its own"
    return ""


def smaller_sizes(own: Size, stride: int) -> list[Size]:
    """The sizes that are worth a try: about :data:`SHARES` of the own one, in whole strides."""
    found = []
    for share in SHARES:
        sides = [max(stride, stride * round(share * side / stride)) for side in own]
        size = (sides[0], sides[1])
        if size not in found and all(new < side for new, side in zip(size, own, strict=True)):
            found.append(size)
    return found


def stride_of(path: Path, own: Size) -> int:
    """How many pixels of a side one place of the coarsest map stands for, a power of two."""
    try:
        flow = read_flow(path)
        shapes = tensor_shapes(flow, own)
    except NotCuttable:
        return 32
    maps = [shapes[node.output[0]][1] for node in flow.nodes if node.output[0] in shapes]
    sides = [
        min(side for side in shape[2:] if side is not None)
        for node, shape in zip(flow.nodes, maps, strict=False)
        if node.op_type == "Conv" and len(shape) == 4 and None not in shape[2:]
    ]
    coarsest = min((side for side in sides if side > 1), default=min(own))
    stride = 2 ** round(math.log2(min(own) / coarsest)) if coarsest < min(own) else 1
    return int(min(max(stride, _STRIDES[0]), _STRIDES[1]))


def write_resized(source: Path, variant: Variant, size: Size, out: Path) -> None:
    """Write the ONNX file `source` of `variant` for images of `size` (height, width) to `out`.
    The same input gives the same bytes.

    Raises ModelError where it does not run so, or gives anything but a score a class.
    """
    model = read_graph(source)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    (image,) = (value for value in graph.input if value.name not in constants)
    first = 2 if variant.input.layout == "nchw" else 1
    for axis, side in zip((first, first + 1), size, strict=True):
        image.type.tensor_type.shape.dim[axis].dim_value = side
    del graph.value_info[:]  # shapes of the other size
    strip_notes(model)
    write_model(model, out)
    fmt = variant.input
    expected, found = _answers(source, fmt, fmt.size), _answers(out, fmt, size)
    if found.shape != expected.shape:
        raise ModelError(
            f"{variant.name}: it gives {found.shape[1]} scores for images of {text_of(size)} and "
            f"{expected.shape[1]} for its own"
        )
    if not np.isfinite(found).all():
        raise ModelError(f"{variant.name}: gives no number for images of {text_of(size)}")


def _answers(path: Path, fmt: InputFormat, size: Size) -> Array:
    """Scores (2, outputs) of noise."""
    model, rng = load_onnx(path), np.random.default_rng(0)
    shape = (fmt.channels, *size) if fmt.layout == "nchw" else (*size, fmt.channels)
    rows = []
    for _ in range(2):
        step()
        pixels = rng.integers(0, 256, (1, *shape))
        if fmt.dtype.startswith("float"):
            tensor = ((pixels - 127.5) / 127.5).astype(fmt.dtype)
        else:
            tensor = (pixels - 128 if fmt.dtype == "int8" else pixels).astype(fmt.dtype)
        rows.append(model.run(tensor).reshape(-1))
    return np.stack(rows)


def try_sizes(
    source: Path, variant: Variant, listed: Sequence[Size] | None, folder: Path
) -> list[SizeTrial]:
    """Which sizes a network runs with: the `listed` (height, width), or else those of
    :func:`smaller_sizes`, each written into `folder` and run."""
    own = variant.input.size
    sizes = smaller_sizes(own, stride_of(source, own)) if listed is None else list(listed)
    found = []
    for size in sizes:
        if size == own:
            continue
        try:
            write_resized(source, variant, size, folder / f"{text_of(size)}.onnx")
        except ModelError as error:
            found.append(SizeTrial(size, str(error)))
        else:
            found.append(SizeTrial(size))
    return found


def text_of(size: Size) -> str:
    """As it is written: '224' where both sides are equal, else '224x192' (height first)."""
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"
