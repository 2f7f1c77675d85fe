"""Exporting a PyTorch module in this process, which runs the user's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.torch_export.building import build
from trimtab.variants.torch_export.checks import Agreement, compare, file_scores
from trimtab.variants.torch_export.describing import write_description
from trimtab.variants.torch_export.onnx import write_onnx
from trimtab.variants.torch_export.outputs import picking, scores_key
from trimtab.variants.torch_export.tflite import write_tflite
from trimtab.variants.torch_export.user_code import told, user_modules
from trimtab.variants.torch_export.weights import load_state
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch

#: Random images that a file is tried on; exporters see the first. Where something may have been
#: kept as it is for that one, images that have less in common follow: paler, stronger, of blocks.
_TRIED, _CONTRASTS = 3, (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class ModuleSource:
    """A PyTorch module as a specification names it: `entry` is 'package.module:callable', called
    with `arguments`; it gets float32 images (1, channels, height, width) of a `size` (height,
    width). `state` is a file of weights (None: those that the callable sets), `folder` is first on
    the import path."""

    entry: str
    arguments: Mapping[str, Any]
    state: str | None
    size: tuple[int, int]
    channels: int
    folder: str | None


class Exporting:
    """A module that was built, with its weights. To be used within :func:`exporting`."""

    def __init__(self, source: ModuleSource) -> None:
        self._source = source
        module = build(source.entry, source.arguments, source.folder)
        if source.state is not None:
            load_state(module, Path(source.state), source.entry)
        self._module: torch.nn.Module = module.eval().float()
        self._notes: list[str] = []
        self._pick_scores()

    def _pick_scores(self) -> None:
        """A module that names what it returns, as those of transformers do, returns its scores."""
        answer = self._answer(next(_random_images(self._shape)))
        key = scores_key(answer)
        if key is not None:
            self._module = picking(self._module, key)
            kind = type(answer).__name__
            self._notes.append(f"it returns a {kind}, of which {key!r} is taken for the scores")

    @property
    def _shape(self) -> tuple[int, ...]:
        return (1, self._source.channels, *self._source.size)

    def write(self, out: Path) -> list[str]:
        """Write the file `out`, and try it on random images. Returns what is to be told. Raises
        ModelError where the module cannot answer an image with scores (1, classes), answers one
        twice in different ways, cannot be exported, or the file answers otherwise."""
        import torch

        source = self._source
        write_description(self._module, source.entry, source.arguments, out)
        images = list(_random_images(self._shape))
        expected = self.scores(images)
        if not np.isfinite(expected).all():
            raise ModelError(f"{source.entry}: answers a random image with NaN or infinity")
        if self.scores(images[:1]).tobytes() != expected[:1].tobytes():
            raise ModelError(
                f"{source.entry}: answers one image twice in different ways in eval mode: "
                "something in it draws random numbers, or keeps what it saw"
            )
        write = write_tflite if out.suffix == ".tflite" else write_onnx
        notes = write(self._module, torch.from_numpy(images[0]), out, source.entry, source.folder)
        found = compare(file_scores(out, images), expected)
        if not found.refused and notes:
            found = self.agreement(out, [*images, *_unlike_images(self._shape)])
        if found.refused:
            out.unlink()
            remedy = "avoid control flow that depends on the image's values" if notes else None
            first = f"{source.entry}: the export answers differently from torch, {found.text()}"
            raise ModelError("; ".join(filter(None, (first, *notes, remedy))))
        return self._notes + notes

    def agreement(self, path: Path, images: Sequence[Array]) -> Agreement:
        """How a file answers images (1, channels, height, width), against the module."""
        return compare(file_scores(path, images), self.scores(images))

    def scores(self, images: Sequence[Array]) -> Array:
        """The module's scores (images, classes) of float32 images (1, channels, height, width).
        Raises ModelError."""
        return np.stack([self._scores(image) for image in images])

    def _answer(self, image: Array) -> Any:
        """What the module returns for an image. Raises ModelError."""
        import torch

        try:
            with torch.no_grad():
                return self._module(torch.from_numpy(image))
        except Exception as error:  # whatever the user's code raises
            raise ModelError(
                f"{self._source.entry}: fails on an image {image.shape}: "
                f"{told(error, self._source.folder)}"
            ) from error

    def _scores(self, image: Array) -> Array:
        import torch

        entry, shape, answer = self._source.entry, image.shape, self._answer(image)
        if not isinstance(answer, torch.Tensor):
            raise ModelError(
                f"{entry}: must give one tensor (1, classes), got a {type(answer).__name__}; name "
                "a callable that wraps it and picks the scores"
            )
        found = tuple(answer.shape)
        if len(found) < 2 or found[0] != 1 or sum(axis != 1 for axis in found[1:]) > 1:
            raise ModelError(f"{entry}: must give (1, classes) for an image {shape}, got {found}")
        scores: Array = answer.float().numpy().reshape(-1)
        return scores


@contextmanager
def exporting(source: ModuleSource) -> Iterator[Exporting]:
    """Import and build a module; meanwhile its folder is first on the import path. Raises
    ModelError saying which step failed, and at which line of the user's code."""
    with user_modules(source.folder):
        yield Exporting(source)


def _random_images(shape: tuple[int, ...]) -> Iterator[Array]:
    generator = np.random.default_rng(0)
    for _ in range(_TRIED):
        yield generator.standard_normal(shape, dtype=np.float32)


def _unlike_images(shape: tuple[int, ...]) -> Iterator[Array]:
    generator = np.random.default_rng(1)
    blocks = (*shape[:2], *(-(-side // 8) for side in shape[2:]))
    for contrast in _CONTRASTS:
        yield generator.standard_normal(shape, dtype=np.float32) * np.float32(contrast)
        coarse = generator.standard_normal(blocks, dtype=np.float32).repeat(8, 2).repeat(8, 3)
        level = generator.standard_normal((1, shape[1], 1, 1), dtype=np.float32)
        image = (coarse[:, :, : shape[2], : shape[3]] + level) * np.float32(contrast)
        yield np.ascontiguousarray(image)
