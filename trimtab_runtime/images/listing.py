"""What a command line means by images: files, folders, patterns, and `-` for standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Union

from PIL import Image

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.decoding import FORMATS

STANDARD_INPUT = "-"


def named_images(arguments: Sequence[str]) -> list[tuple[str, Union[str, bytes]]]:
    """The name of each image, and its path or content, in the order of the `arguments`: a file, a
    folder (the images at any depth, by name), a pattern (`*`, `?`, `[...]`, `**` for any depth),
    or `-`: the content of one image comes from standard input.

    Raises WorkloadError for a folder or a pattern without images. Files are not opened.
    """
    found: list[tuple[str, Union[str, bytes]]] = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            found.append((argument, sys.stdin.buffer.read()))
        elif os.path.isdir(argument):
            found += _some(sorted(_below(argument)), f"{argument}: no images in this folder")
        elif glob.has_magic(argument) and not os.path.exists(argument):
            matching = sorted(filter(_is_image, glob.glob(argument, recursive=True)))
            found += _some(matching, f"{argument}: no image matches")
        else:
            found.append((argument, argument))
    return found


def image_suffixes() -> list[str]:
    """How the names of files end that may be images, in lower case."""
    return sorted(end for end, name in Image.EXTENSION.items() if name in FORMATS)


def _some(paths: Sequence[str], otherwise: str) -> Iterator[tuple[str, str]]:
    if not paths:
        raise WorkloadError(f"{otherwise} (names that end in {' '.join(image_suffixes())})")
    return ((path, path) for path in paths)


def _below(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            os.path.join(place, name)
            for name in names
            if not name.startswith(".") and _is_image(os.path.join(place, name))
        )


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in image_suffixes() and os.path.isfile(path)
