"""Graphs that take images of any size and resize them themselves."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trimtab.variants.files.onnx import read_graph
from trimtab.variants.files.writing import write_model
from trimtab.variants.intake.trial import Trial, noise
from trimtab_runtime.errors import ModelError

#: Operators that a network begins with, behind what only prepares an image.
_FIRST = ("Conv", "ConvInteger", "QLinearConv", "FusedConv", "Gemm", "MatMul")
#: Sizes (height, width) of images whose shapes have nothing in common.
_SIZES = ((97, 131), (150, 101))
_MAPS = 4  # dimensions of a tensor that still is an image


def inner_size(path: Path, layout: str, channels: int) -> tuple[int, int] | None:
    """The (height, width) in which images of different sizes come to the first layer of an ONNX
    file that takes any; None where they keep their sizes, or that cannot be tried."""
    try:
        model = read_graph(path)
    except ModelError:
        return None
    first = next((node for node in model.graph.node if node.op_type in _FIRST), None)
    if first is None:
        return None
    model.graph.output.add().name = first.input[0]
    with tempfile.TemporaryDirectory(prefix="trimtab-resizing-") as folder:
        watched = Path(folder) / path.name
        try:
            write_model(model, watched)
            trial = Trial(watched)
            shapes = {_seen(trial, first.input[0], layout, channels, size) for size in _SIZES}
        except ModelError:
            return None
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    return (shape[2], shape[3]) if len(shape) == _MAPS and min(shape) > 0 else None


def _seen(
    trial: Trial, name: str, layout: str, channels: int, size: tuple[int, int]
) -> tuple[int, ...]:
    dims = (1, channels, *size) if layout == "nchw" else (1, *size, channels)
    return tuple(trial.run(noise(dims, trial.type))[name].shape)
