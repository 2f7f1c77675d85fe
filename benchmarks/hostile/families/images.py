"""Images and folders of images that are not what they seem."""

from __future__ import annotations

import os
from collections.abc import Iterator

from benchmarks.hostile.cases import Attempt, Case
from trimtab_runtime.images.decoding import decode_image


def cases(seed: int) -> Iterator[Case]:
    """The same for every seed so far."""
    yield Case("fifo", _fifo, limit_s=60)


def _fifo(attempt: Attempt) -> None:
    os.mkfifo(attempt.folder / "photo.png")
    decode_image(attempt.folder / "photo.png")
