"""What a command line means by images: files, folders, patterns, and `-` for standard input."""

from __future__ import annotations

import contextlib
import fnmatch
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
            matching = sorted(filter(_is_image, _matching(argument)))
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
    """Images at any depth; links to folders are not followed, or they could lead anywhere, and
    round and round."""
    waiting = [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif _is_image(entry.path):
                    yield entry.path


def _matching(pattern: str) -> Iterator[str]:
    """Files that match, of which `**` goes through folders as :func:`_below` does."""
    start, deep, rest = pattern.partition("**")
    if not deep:
        return glob.iglob(pattern)
    wanted = [part for part in rest.split("/") if part not in ("", "**")] or ["*"]
    places = glob.iglob(start or ".")
    found = ((path, os.path.relpath(path, place)) for place in places for path in _below(place))
    return (os.path.normpath(path) for path, name in found if _ends(name.split(os.sep), wanted))


def _ends(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the last parts of a path match patterns."""
    if len(parts) < len(wanted):
        return False
    return all(map(fnmatch.fnmatch, parts[len(parts) - len(wanted) :], wanted))


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in image_suffixes() and os.path.isfile(path)
