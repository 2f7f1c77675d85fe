"""Images changed at random, for an original that is asked what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from variants.slimming.activations import Map

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Changes(Protocol):
    """How images are changed: mirrored or not, moved by up to `shift` pixels, and blended in pairs
    by shares from a Beta(`mix`, `mix`) distribution (0: not)."""

    @property
    def flip(self) -> bool: ...
    @property
    def shift(self) -> int: ...
    @property
    def mix(self) -> float: ...


def asks_anew(changes: Changes) -> bool:
    """Whether the original must be asked what the changed images show."""
    return changes.flip or changes.shift > 0 or changes.mix > 0


def changed(
    images: Sequence[Map], changes: Changes, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A batch (n, C, H, W) of images (C, H, W), changed.

    (Blending: mixup, Zhang et al., ICLR 2018; the original says what blends show, "A good teacher
    is patient and consistent", Beyer et al., CVPR 2022.)
    """
    batch = np.stack([_moved(image, changes, rng) for image in images])
    if changes.mix:
        shares = rng.beta(changes.mix, changes.mix, (len(batch), 1, 1, 1)).astype(np.float32)
        batch = shares * batch + (1 - shares) * batch[rng.permutation(len(batch))]
    return batch


def _moved(image: Map, changes: Changes, rng: np.random.Generator) -> Map:
    """The image, mirrored and shifted at random; edges are repeated."""
    if changes.flip and rng.random() < 0.5:
        image = image[:, :, ::-1]
    if changes.shift:
        height, width = image.shape[1:]
        wide = np.pad(image, ((0, 0), *[(changes.shift, changes.shift)] * 2), mode="edge")
        top, left = rng.integers(0, 2 * changes.shift + 1, 2)
        image = wide[:, top : top + height, left : left + width]
    return image
