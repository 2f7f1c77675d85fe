"""Feature maps in batches, and the part that is held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


Maps = NDArray[np.float32] | Sequence[NDArray[np.float32]]
FEWEST = 8


def held_out(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to learn on, and those held out, of `count` inputs; the latter at least two."""
    order = np.random.default_rng(seed).permutation(count)
    few = max(2, round(count * share))
    return np.sort(order[few:]), np.sort(order[:few])


def batch_of(maps: Maps, indices: Sequence[int] | NDArray[np.int64]) -> torch.Tensor:
    """Some of the feature maps as one tensor (n, ...)."""
    import torch

    # Laid out anew: torch 2.13 crashes in the backward pass of some 1x1 convolutions of maps whose
    # channels lie together, and rounds other ones otherwise.
    if isinstance(maps, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(maps[indices]))
    return torch.from_numpy(np.stack([np.ascontiguousarray(maps[i]) for i in indices]))


def parts_of(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """The indices in batches."""
    for start in range(0, len(order), size):
        yield order[start : start + size]
