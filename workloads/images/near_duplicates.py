"""Images that show nearly the same: a copy saved again, resized, brighter, mirrored, or cropped by
a hair.

Perceptual hashes (imagehash's pHash, 64 bits) find candidates; 16 x 16 grey thumbnails must agree
too. On 1,300 photographs of ImageNet, 1,000 images of CIFAR-10 and 1,797 digits of scikit-learn
that gives no pair, where hashes alone give hundreds of the digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image, ImageOps

#: Bits by which the hashes of a pair may differ, and grey levels (root mean square) by which the
#: thumbnails may.
MAX_BITS, MAX_LEVELS = 6, 8.0
#: The share of all images that one chain of pairs may join. Above it images are alike by nature,
#: as the frames of a fixed camera, and pairs say nothing.
MAX_CHAIN = 0.1
#: Pairs an image, on average, whose thumbnails are compared.
MAX_CANDIDATES = 100
_SIDE = 16
_BLOCK = 512  # rows that are compared at a time: 50,000 images take 200 MB


@dataclass(frozen=True)
class Look:
    """What an image looks like: `size` (width, height) in pixels, `bits` its perceptual hash and
    `mirrored` that of its mirror image, `thumbnail` its grey levels (256 bytes)."""

    size: tuple[int, int]
    bits: int
    mirrored: int
    thumbnail: bytes


def look_of(image: Image.Image) -> Look:
    """The look of a decoded image."""
    grey = image.convert("L")
    small = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    plain, mirrored = (
        int(str(imagehash.phash(each)), 16) for each in (grey, ImageOps.mirror(grey))
    )
    return Look(image.size, plain, mirrored, small.tobytes())


def alike_pairs(looks: Sequence[Look], mirrored: bool = False) -> list[tuple[int, int]] | None:
    """Pairs (first, second) of images that look alike, or of which one looks like the other's
    mirror image (`mirrored`), first < second; None where so many hashes are the same that pairs
    say nothing.

    Every two are compared, in blocks.
    """
    if not looks:
        return []
    plain, turned = (
        np.array([getattr(look, name) for look in looks], np.uint64)
        for name in ("bits", "mirrored")
    )
    levels = np.frombuffer(b"".join(look.thumbnail for look in looks), np.uint8)
    grey = levels.reshape(len(looks), _SIDE, _SIDE)
    bits, others = (turned, grey[:, :, ::-1]) if mirrored else (plain, grey)
    found: list[tuple[int, int]] = []
    candidates = 0
    for start in range(0, len(bits), _BLOCK):
        block = bits[start : start + _BLOCK, None]
        first, second = np.nonzero(np.bitwise_count(block ^ plain[None, start:]) <= MAX_BITS)
        first, second = first + start, second + start
        first, second = first[first < second], second[first < second]
        candidates += len(first)
        if candidates > MAX_CANDIDATES * len(looks):
            return None
        close = _levels(others, grey, first, second) <= MAX_LEVELS
        found += zip(first[close].tolist(), second[close].tolist(), strict=True)
    return found


def _levels(
    own: NDArray[np.uint8],
    other: NDArray[np.uint8],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Root mean square differences (pairs,) of thumbnails (images, side, side), in grey levels:
    the `first` of `own` and the `second` of the `other` ones."""
    levels = np.empty(len(first), np.float32)
    for start in range(0, len(first), 2**14):
        part = slice(start, start + 2**14)
        gap = own[first[part]].astype(np.float32) - other[second[part]]
        levels[part] = np.sqrt((gap**2).mean((1, 2)))
    return levels


def longest_chain(pairs: Sequence[tuple[int, int]], images: int) -> int:
    """The number of images that the largest chain of pairs joins."""
    if not pairs:
        return 0
    ends = np.array(pairs).T
    sparse = scipy.sparse
    links = sparse.coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(images, images))
    return int(np.bincount(sparse.csgraph.connected_components(links, directed=False)[1]).max())
