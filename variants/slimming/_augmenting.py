"""Images changed at random, for an original that is asked what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from variants.slimming.activations import Map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from variants.slimming.distilling import DistillRecipe


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
