"""Images changed at random, for an original that is asked what they show.

What a slimmed network is taught: images, and what the original says of them.

Importing this imports torch: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from trimtab.variants.slimming.torch_module.batch_norm import normalise
from trimtab.variants.slimming.torch_module.module import OnnxModule
from trimtab.variants.slimming.training.batches import batch_of, held_out, parts_of
from trimtab.variants.slimming.training.feature_maps import Map

if TYPE_CHECKING:
    import onnx

    from trimtab.variants.slimming.training.recipes import DistillRecipe


def changed(
    images: Sequence[Map], recipe: DistillRecipe, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A batch (n, C, H, W) of images (C, H, W): mirrored or not, moved by up to `shift` pixels,
    and blended in pairs by shares from a Beta(`mix`, `mix`) distribution (0: not).

    (Blending: mixup, Zhang et al., ICLR 2018; the original says what blends show, "A good teacher
    is patient and consistent", Beyer et al., CVPR 2022.)
    """
    batch = np.stack([_moved(image, recipe, rng) for image in images])
    if recipe.mix:
        shares = rng.beta(recipe.mix, recipe.mix, (len(batch), 1, 1, 1)).astype(np.float32)
        batch = shares * batch + (1 - shares) * batch[rng.permutation(len(batch))]
    return batch


def _moved(image: Map, recipe: DistillRecipe, rng: np.random.Generator) -> Map:
    """The image, mirrored and shifted at random; edges are repeated."""
    if recipe.flip and rng.random() < 0.5:
        image = image[:, :, ::-1]
    if recipe.shift:
        height, width = image.shape[1:]
        wide = np.pad(image, ((0, 0), *[(recipe.shift, recipe.shift)] * 2), mode="edge")
        top, left = rng.integers(0, 2 * recipe.shift + 1, 2)
        image = wide[:, top : top + height, left : left + width]
    return image


class Lesson:
    """Losses to learn from, and errors on what is held out."""

    def __init__(
        self,
        module: OnnxModule,
        teacher: OnnxModule | None,
        images: list[Map],
        logits: Map,
        recipe: DistillRecipe,
        seed: int,
    ) -> None:
        self.module, self._teacher = module, teacher
        self._images, self._logits, self._recipe, self._seed = images, logits, recipe, seed
        self.used, self._held = held_out(len(images), recipe.held_out, seed)
        self._scale = max(float(logits[self._held].var(axis=0).mean()), 1e-12)

    def normalise(self) -> None:
        """Put batch normalisation behind the convolutions, for the time of learning."""
        normalise(self.module)
        some = self.used[: 2 * self._recipe.batch]
        with torch.no_grad():
            self.module(_laid(batch_of(self._images, some)))

    def losses(self, epoch: int) -> Iterator[torch.Tensor]:
        """The loss of each batch of an epoch."""
        rng = np.random.default_rng([self._seed, epoch])
        for part in parts_of(rng.permutation(self.used), self._recipe.batch):
            x, wanted = self._batch(part, rng)
            with self._numbers():
                made = self.module(x).flatten(1)
            yield self._loss(made.float(), wanted)

    def evaluate(self) -> float:
        """The loss on what is held out."""
        made = torch.from_numpy(self._answers())
        return float(self._loss(made, torch.from_numpy(self._logits[self._held])))

    def measure(self) -> tuple[float, float]:
        """Squared error by variance, and agreement, on what is held out."""
        made, wanted = self._answers(), self._logits[self._held]
        error = float(np.square(made - wanted, dtype=np.float64).mean()) / self._scale
        return error, float((made.argmax(1) == wanted.argmax(1)).mean())

    def _answers(self) -> Map:
        self.module.eval()
        with torch.no_grad():
            made = [
                self.module(_laid(batch_of(self._images, part))).flatten(1).numpy()
                for part in parts_of(self._held, self._recipe.batch)
            ]
        return np.concatenate(made)

    def _batch(
        self, part: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._teacher is None:
            return _laid(batch_of(self._images, part)), torch.from_numpy(self._logits[part])
        x = _laid(torch.from_numpy(changed([self._images[i] for i in part], self._recipe, rng)))
        with torch.no_grad(), self._numbers():
            return x, self._teacher(x).flatten(1).float()

    def _numbers(self) -> torch.autocast:
        """In what numbers is multiplied."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._recipe.bfloat16)

    def _loss(self, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        if self._recipe.loss == "mse":
            return functional.mse_loss(made, wanted) / self._scale
        heat = self._recipe.temperature
        ours, theirs = (functional.log_softmax(x / heat, 1) for x in (made, wanted))
        return heat**2 * functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def to_learn(model: onnx.ModelProto) -> OnnxModule:
    """A model for torch, with the channels of a pixel side by side."""
    module = OnnxModule(model)
    # torch's annotations know a layout only beside a device or a type of numbers.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def _laid(batch: torch.Tensor) -> torch.Tensor:
    """The same images with the channels of a pixel side by side, in which torch is faster."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.dim() == 4 else batch
