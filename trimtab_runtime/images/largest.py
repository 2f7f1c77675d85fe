"""The largest image that a figure of memory is to hold for, made where it is measured.

    python -m trimtab_runtime.images.largest PIXELS FILE

Of JPEG and PNG, a PNG that is partly transparent and lies on its side takes most to decode.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from PIL import Image

import trimtab_runtime
from trimtab_runtime.errors import DeviceError

_ORIENTATION, _ON_ITS_SIDE = 0x0112, 6


@contextmanager
def largest_image(pixels: Optional[int]) -> Iterator[list[str]]:
    """A file of so many pixels, made by another process, as making it takes memory too; none where
    nothing is said. Raises DeviceError."""
    if pixels is None:
        yield []
        return
    import subprocess  # which no other process that is measured has

    runtime = str(Path(trimtab_runtime.__file__).parent.parent)
    with tempfile.TemporaryDirectory(prefix="trimtab-largest-") as folder:
        path = os.path.join(folder, "largest.png")
        done = subprocess.run(
            [sys.executable, "-m", "trimtab_runtime.images.largest", str(pixels), path],
            env={**os.environ, "PYTHONPATH": runtime},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise DeviceError(
                f"an image of {pixels} pixels cannot be made here ({' '.join(last)}); lower "
                "workload.largest_megapixels, or free memory"
            )
        yield [path]


def write_largest(pixels: int, path: str) -> None:
    """Write a PNG of at most so many pixels, as square as it goes."""
    side = math.isqrt(pixels)
    shade = Image.linear_gradient("L").resize((side, side))
    exif = Image.Exif()
    exif[_ORIENTATION] = _ON_ITS_SIDE
    Image.merge("RGBA", [shade] * 4).save(path, "PNG", exif=exif, compress_level=1)


if __name__ == "__main__":
    write_largest(int(sys.argv[1]), sys.argv[2])
