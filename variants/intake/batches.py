"""Files that take several images at a time, as ones that take one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.intake.trial import Trial, noise
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

#: How far apart the answers to one image may be, of the largest answer: other kernels add up in
#: another order.
_TOLERANCE = 1e-4


def take_single_images(model: ir.Model, image: ir.Value, batch: int) -> None:
    """Write a batch of one into the graph, in place, and forget shapes that follow from it."""
    import onnx_ir as ir

    assert image.shape is not None  # its batch is known
    image.shape = ir.Shape([1, *list(image.shape)[1:]])
    outputs = list(model.graph.outputs)
    for value in [*outputs, *(value for node in model.graph for value in node.outputs)]:
        if value.shape is not None and len(value.shape) and value.shape[0] == batch:
            value.shape = ir.Shape([1, *list(value.shape)[1:]]) if value in outputs else None


def same_rows(batched: Path, single: Path, dims: tuple[int, ...]) -> bool:
    """Whether a file answers a batch of shape `dims` as another one its images, each alone."""
    try:
        many, one = Trial(batched), Trial(single)
        images = noise(dims, many.type)
        together = next(iter(many.run(images).values()))
        alone = [next(iter(one.run(image[None]).values())) for image in images]
    except ModelError:
        return False
    rows = np.stack([answer.reshape(-1) for answer in alone]).astype(np.float64)
    if together.size != rows.size:
        return False
    wanted = together.reshape(rows.shape).astype(np.float64)
    return bool(np.abs(rows - wanted).max() <= _TOLERANCE * max(np.abs(wanted).max(), 1e-6))
