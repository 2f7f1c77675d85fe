"""Shapes that a run tells, where inference does not: of operators that only onnxruntime knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import Array
from trimtab.variants.intake.trial import Trial
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


def close_batch(model: ir.Model) -> bool:
    """Write a batch of one image into the graph's input, in place, where only that is open of it
    and shapes inside are unknown for it; returns whether that was so. What shapes are computed
    from can be folded then."""
    import onnx_ir as ir

    image = next(value for value in model.graph.inputs if not value.is_initializer())
    if image.shape is None or not len(image.shape) or isinstance(image.shape[0], int):
        return False
    rest = list(image.shape)[1:]
    inside = [value for node in model.graph for value in node.outputs if value.name]
    if not all(isinstance(side, int) for side in rest) or all(map(_is_known_behind, inside)):
        return False
    image.shape = ir.Shape([1, *rest])
    return True


def _is_known_behind(value: ir.Value) -> bool:
    """Whether all sides of a tensor but the first are known."""
    return value.shape is not None and all(isinstance(side, int) for side in value.shape[1:])


def write_run_shapes(
    model: ir.Model, write: Callable[[], Path], image: Callable[[str], Array]
) -> bool:
    """Write shapes and types of tensors that have none into the graph, in place, as a run has
    them; returns whether there were any.

    `write` writes the model to a file, `image` gives a tensor of onnxruntime's type. Nothing is
    written where the input's own shape is open, or the engine does not give these tensors.
    """
    import onnx_ir as ir

    graph = model.graph
    dims = [side for value in graph.inputs for side in value.shape or (None,)]
    values = [value for node in graph for value in node.outputs if value.name]
    unknown = [value for value in values if not _is_known(value)]
    if not unknown or not all(isinstance(side, int) for side in dims):
        return False
    outputs = list(graph.outputs)
    graph.outputs.extend(value for value in unknown if value not in outputs)
    try:
        trial = Trial(write())
        found = trial.run(image(trial.type))
    except ModelError:
        return False
    finally:
        graph.outputs[:] = outputs
    for value in unknown:
        tensor = found.get(str(value.name))
        if tensor is not None:
            value.shape = ir.Shape(tensor.shape)
            value.dtype = ir.DataType.from_numpy(tensor.dtype)
    return any(str(value.name) in found for value in unknown)


def _is_known(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(side, int) for side in value.shape)
