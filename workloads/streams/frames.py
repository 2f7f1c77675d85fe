"""The frames of a stream as files: named first, rendered only where they are missing."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from trimtab.workloads.streams.arrivals import object_of
from trimtab.workloads.streams.motion import render
from trimtab.workloads.streams.stream import Stream
from trimtab.workloads.workload import Item, Workload
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import decode_image

_THREADS = 2
# Part of every frame's name: to be raised when `render` comes to give other pixels.
_RENDERER = 1


def frame_items(workload: Workload, stream: Stream, folder: Path) -> list[Item]:
    """One item for every frame, (frames,); nothing is read, rendered or written.

    A still is the workload's own item. A moved frame is `<name of the image>@<t>`, with the label
    of its image, the group of its image (or, where there is none, the image's sha256), and a path
    in `folder` that exists only after :func:`write_frames`. Its `sha256` is the content key of
    the frame's recipe (the image's sha256 and what is done to it), not that of the PNG file, and
    `size_bytes` is 0, unknown: evidence about a frame can be looked up before it is rendered.

    Raises WorkloadError when the stream shows images that the workload does not have.
    """
    if int(stream.items.max()) >= len(workload):
        raise WorkloadError(
            f"the stream shows image {int(stream.items.max())}, but the workload has "
            f"{len(workload)}: they do not belong together"
        )
    return [_frame(workload, stream, folder, t) for t in range(len(stream))]


def _frame(workload: Workload, stream: Stream, folder: Path, t: int) -> Item:
    item = workload.items[int(stream.items[t])]
    if stream.is_still(t):
        return item
    noise_seed = int(stream.noise_seeds[t])
    key = content_key(
        {
            "renderer": _RENDERER,
            "image": item.sha256,
            "shift": stream.shifts[t].tolist(),
            "gain": float(stream.gains[t]),
            "noise": stream.recipe.noise if noise_seed >= 0 else 0.0,
            "noise_seed": noise_seed,
        }
    )
    return Item(
        path=folder / f"{key}.png",
        name=f"{item.name}@{t}",
        label=item.label,
        group=object_of(item),
        sha256=key,
        size_bytes=0,
    )


def write_frames(workload: Workload, stream: Stream, folder: Path) -> None:
    """Render the moved frames that `folder` lacks, as lossless PNG files.

    Every image is decoded once. A file appears whole or not at all, so several processes may
    write into one folder, and what was killed goes on where it was. Raises WorkloadError for an
    image that cannot be read, and for a folder that cannot be written to.
    """
    missing: dict[int, dict[Path, int]] = defaultdict(dict)
    for t, frame in enumerate(frame_items(workload, stream, folder)):
        if not stream.is_still(t) and not frame.path.exists():
            missing[int(stream.items[t])][frame.path] = t
    if not missing:
        return

    def render_all(index: int) -> None:
        pixels = np.asarray(decode_image(str(workload.items[index].path)))
        for path, t in missing[index].items():
            right, down = stream.shifts[t].tolist()
            gain, seed = float(stream.gains[t]), int(stream.noise_seeds[t])
            frame = render(pixels, (right, down), gain, stream.recipe.noise, seed)
            _write(Image.fromarray(frame), path)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(render_all, missing))
    except OSError as error:
        raise WorkloadError(
            f"{folder}: frames cannot be written there ({error.strerror or error})"
        ) from None


def _write(image: Image.Image, path: Path) -> None:
    part = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        image.save(part, format="PNG", compress_level=1)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
