"""Running a model file once or twice to see what it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.onnx import load_session, run_all
from trimtab_runtime.errors import ModelError


class Trial:
    """A session of a file with one input, which errors call `name` (by default as the file).
    Raises ModelError where it cannot be loaded."""

    def __init__(self, path: Path, name: str | None = None, optimised: bool = False) -> None:
        self._name = name or path.name
        self._session = load_session(path, optimised, self._name)
        wanted = self._session.get_inputs()[0]
        self.input, self.type = str(wanted.name), str(wanted.type)
        self.outputs = [str(value.name) for value in self._session.get_outputs()]

    def run(self, tensor: Array) -> dict[str, Array]:
        """Outputs by name; those that are no tensors are left out. Raises ModelError."""
        found: Sequence[Any] = run_all(self._name, self._session, self.input, tensor)
        named = zip(self.outputs, found, strict=True)
        return {name: value for name, value in named if isinstance(value, np.ndarray)}

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an image of this shape goes through."""
        try:
            self.run(noise(shape, self.type))
        except ModelError:
            return False
        return True


def noise(shape: Sequence[int], kind: str, seed: int = 0) -> Array:
    """Random pixels as a tensor of onnxruntime's type `kind`: reals in [-1, 1], or bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, tuple(shape))
    if kind == "tensor(int8)":
        return (pixels - 128).astype(np.int8)
    if kind == "tensor(uint8)":
        return pixels.astype(np.uint8)
    real = np.float16 if kind == "tensor(float16)" else np.float32
    return ((pixels - 127.5) / 127.5).astype(real)
