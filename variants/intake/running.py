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
