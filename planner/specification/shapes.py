"""Which images have another shape than a model's input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

#: Sides may be off by this factor before anybody would call an image distorted.
_SLACK = 1.02


def misfits(images: Mapping[tuple[int, int], int], size: tuple[int, int]) -> Counter[str]:
    """Of `images` (how many have which width and height in pixels) those that would be distorted
    by a resize to `size` (height, width): '1280x720' and how many, the most frequent first."""
    height, width = size
    found: Counter[str] = Counter()
    for (image_width, image_height), count in images.items():
        stretched = image_width * height / (image_height * width)
        if max(stretched, 1 / stretched) > _SLACK:
            found[f"{image_width}x{image_height}"] += count
    return Counter(dict(found.most_common()))
