"""Whether an exported file answers as the module that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.onnx import load_session, run_session
from trimtab.variants.files.tflite import load_tflite

#: Differences to torch, as shares of the largest score: up to the first they are those of other
#: kernels, beyond the second the file is another model.
EXACT, REFUSED = 1e-4, 1e-2


@dataclass(frozen=True)
class Agreement:
    """Answers of a file against torch's: `largest` difference as a share of the largest score, and
    to how many of the `images` the two give `others` as the best class."""

    images: int
    largest: float
    others: int

    @property
    def exact(self) -> bool:
        """Whether they differ by no more than kernels that add up in another order."""
        return self.largest <= EXACT

    @property
    def refused(self) -> bool:
        """Whether they are of two models."""
        return not self.largest <= REFUSED or (not self.exact and self.others > 0)

    def text(self, of: str = "") -> str:
        """The difference in words, on images `of` something (" of fit")."""
        best = f", with another best class for {self.others} of them" if self.others else ""
        count = "1 image" if self.images == 1 else f"{self.images} images"
        return f"by up to {self.largest:.2g} of the largest score on {count}{of}{best}"


def compare(found: Array, expected: Array) -> Agreement:
    """Scores of a file and of torch, both (images, classes)."""
    scale = max(float(np.abs(expected).max()), 1e-12)
    largest = float(np.abs(found - expected).max()) / scale
    others = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return Agreement(len(found), largest, others)


def file_scores(path: Path, images: Sequence[Array]) -> Array:
    """Scores (images, classes) that the engine gives for tensors (1, channels, height, width); a
    TFLite file is given them with the channels last. Raises ModelError."""
    if path.suffix == ".tflite":
        run = load_tflite(path).run
        answers = [run(np.ascontiguousarray(image.transpose(0, 2, 3, 1))) for image in images]
    else:
        session = load_session(path, optimised=True)
        name = session.get_inputs()[0].name
        answers = [run_session(path, session, name, image) for image in images]
    return np.stack([_flat(answer) for answer in answers])


def _flat(answer: Any) -> Array:
    return np.asarray(answer, np.float32).reshape(-1)
