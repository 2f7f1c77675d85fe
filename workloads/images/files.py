"""Which files below a folder are images, and what else lies there."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.heif import HEIF_SUFFIXES, PACKAGE

#: Endings of files that Pillow reads as they are.
IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
#: What operating systems and network drives put beside people's files.
_SYSTEM_FOLDERS = (
    *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"),
    "lost+found",
)
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")
_THUMBNAILS = ("thumbs", "thumbnails", "_thumbs", "_thumbnails")
#: Endings of pictures that are not read.
_PICTURES = (
    *HEIF_SUFFIXES,
    *(".arw", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".hdr", ".j2k", ".jp2", ".jxl", ".jxr"),
    *(".nef", ".npy", ".pdf", ".psd", ".raw", ".rw2", ".svg", ".tga"),
)
#: Files about images, which others read.
_ABOUT_IMAGES = ("labels.csv", "classes.txt", "labels.txt", "class_names.txt")
#: How often one folder is entered, by one link or another: links to links double with each level.
MOST_WAYS = 8
HIDDEN, SYSTEM, LOOPS, NO_SUFFIX = "hidden", "of the system", "links in a circle", "no suffix"
NO_FILE = "pipes, devices or sockets"


def image_suffixes() -> tuple[str, ...]:
    """Endings of the files that can be read here: HEIC needs a package."""
    heif = HEIF_SUFFIXES if importlib.util.find_spec(PACKAGE) else ()
    return (*IMAGE_SUFFIXES, *heif)


@dataclass(frozen=True)
class FolderContents:
    """Images below a folder by their relative paths (forward slashes), sorted level by level;
    image files that are links to nowhere; and how many files of which kind were left out."""

    names: tuple[str, ...]
    broken: tuple[str, ...]
    left_out: Mapping[str, int]


def list_images(folder: Path) -> FolderContents:
    """The images below `folder`. Raises WorkloadError where a folder cannot be listed."""
    left_out: Counter[str] = Counter()
    names, broken, suffixes = [], [], image_suffixes()
    for name in files_below(folder, left_out):
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if path.name in _ABOUT_IMAGES:
            continue
        if suffix not in suffixes:
            left_out[suffix or NO_SUFFIX] += 1
        elif os.path.isfile(folder / name):
            names.append(name)
        elif os.path.exists(folder / name):
            left_out[NO_FILE] += 1
        else:
            broken.append(name)
    return FolderContents(tuple(names), tuple(broken), dict(left_out))


def files_below(
    folder: Path,
    left_out: Counter[str],
    enter: Callable[[os.DirEntry[str]], bool] = lambda _: True,
) -> Iterator[str]:
    """Files below a folder as relative paths, sorted level by level. Links are followed, but not
    round and round, nor more than MOST_WAYS to one folder; what is hidden or the system's
    own is counted in `left_out`, and folders that are not to be `enter`ed are passed over. Raises
    WorkloadError."""
    ways: Counter[str] = Counter()
    waiting = [iter(_listed(str(folder)))]
    places = [("", os.path.realpath(folder))]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
            places.pop()
            continue
        prefix, is_folder = (
            places[-1][0],
            os.path.isdir(entry.path),
        )  # False where it may not be looked at
        kind = _kind_left_out(entry.name, is_folder)
        if kind is not None:
            left_out[kind] += _files_in(entry.path) if is_folder and kind != HIDDEN else 1
        elif not is_folder:
            yield prefix + entry.name
        elif enter(entry):
            by_link = entry.is_symlink()
            real = os.path.realpath(entry.path) if by_link else f"{places[-1][1]}/{entry.name}"
            ways[real] += by_link
            often = by_link and ways[real] > MOST_WAYS
            if often or any(real == above for _, above in places):
                left_out[LOOPS] += 1
                continue
            waiting.append(iter(_listed(entry.path)))
            places.append((f"{prefix}{entry.name}/", real))


def folders_in(folder: Path) -> set[str]:
    """The names of folders in a folder, without those that are left out."""
    with os.scandir(folder) as found:
        return {e.name for e in found if e.is_dir() and _kind_left_out(e.name, True) is None}


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:  # no permission, or too many links
        raise WorkloadError(f"{folder}: cannot be listed ({error.strerror})") from None


def _kind_left_out(name: str, is_folder: bool) -> str | None:
    if name.startswith("."):
        return HIDDEN
    if is_folder and name in _SYSTEM_FOLDERS:
        return f"in {name}"
    if is_folder and name.lower() in _THUMBNAILS:
        return f"in {name} (thumbnails)"
    return SYSTEM if name.lower() in _SYSTEM_FILES else None


def _files_in(folder: str) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def left_out_text(left_out: Mapping[str, int]) -> str:
    """`20 .heic, 18 in @eaDir, 3 hidden`, the pictures first, and what would read them."""
    order = sorted(left_out.items(), key=lambda part: (part[0] not in _PICTURES, -part[1]))
    text = ", ".join(f"{count} {kind}" for kind, count in order)
    if any(kind in HEIF_SUFFIXES for kind in left_out):
        text += " (pip install 'trimtab[heif]' reads HEIC)"
    return text
