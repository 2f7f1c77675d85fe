"""Whether two files of one model give the same bits on the engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.intake.trial import Trial, noise
from trimtab_runtime.errors import ModelError

_IMAGES = 3

_TYPES = {
    "tensor(double)": "float64",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
}


def largest_difference(
    before: Path, after: Path, dims: Sequence[int], output: str | None = None
) -> float | None:
    """The largest difference of the answers of two files on random images of shape `dims`; 0.0
    where all bits are equal.

    `after` has one output; of `before` it is the one called `output` (None: its first). None
    where `before` cannot be run on an image alone. Raises ModelError where `after` cannot be run.
    """
    new = Trial(after, optimised=True)
    try:
        old = Trial(before, optimised=True)
        if old.type == "tensor(bfloat16)" or (output is not None and output not in old.outputs):
            return None
    except ModelError:
        return None
    largest = 0.0
    for seed in range(_IMAGES):
        tensor = noise(dims, new.type, seed)
        (made,) = new.run(tensor).values()
        try:
            answers = old.run(tensor.astype(_TYPES.get(old.type, tensor.dtype)))
        except ModelError:
            return None
        wanted = answers.get(output) if output else next(iter(answers.values()), None)
        if wanted is None or wanted.size != made.size:
            return None
        largest = max(largest, _difference(wanted, made))
    return largest


def _difference(wanted: Array, made: Array) -> float:
    if wanted.dtype == made.dtype and wanted.tobytes() == made.tobytes():
        return 0.0
    a, b = (each.astype(np.float64).reshape(-1) for each in (wanted, made))
    return float(np.nanmax(np.abs(a - b), initial=0.0))
