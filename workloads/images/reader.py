"""From a folder to a workload: a folder per class, a labels.csv, or images alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.workloads.images.classes import folder_labels, read_classes, table_labels
from trimtab.workloads.images.label_table import Row, read_table
from trimtab.workloads.images.text import first_few
from trimtab.workloads.workload import Item, Workload
from trimtab_runtime.errors import WorkloadError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TABLE_NAME = "labels.csv"


@dataclass(frozen=True)
class _Layout:
    """What the folder says about its images, by their names."""

    labels: Mapping[str, int]
    groups: Mapping[str, str | None]
    classes: tuple[str, ...]


def read_workload(
    images: Path,
    labels: Path | None = None,
    classes: Sequence[str] | Path | None = None,
    group: str | None = None,
) -> Workload:
    """Read the images under `images`, sorted by path, with their labels where there are any.

    - With `labels`, or a `labels.csv` in the folder, that table rules: columns `file` (relative
      to `images`) and `label` (class index, or class name); `group` may name a third one, which
      says what object an image shows.
    - Else every folder in `images` is a class, with images at any depth.
    - Else the images have no labels, and agreement with a reference member stands in.

    `classes` (names in the order of a model's outputs, or a text file with one a line) is needed
    where the labels alone do not tell all classes. Files that are hidden or end in none of
    IMAGE_SUFFIXES are ignored. No image is decoded here: see :func:`check_images`.

    Raises WorkloadError for anything that does not fit, with the number of cases and the first.
    """
    folder = Path(images).absolute()
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise WorkloadError(f"{images}: {what}; `images` must be a folder of images")
    names = list(_image_names(folder))
    if not names:
        raise WorkloadError(
            f"{images}: holds no images; expected files that end in {' '.join(IMAGE_SUFFIXES)}"
        )
    known_classes = read_classes(classes)
    table = Path(labels) if labels is not None else folder / TABLE_NAME
    if labels is not None or table.exists():
        layout = _from_table(table, read_table(table, group), names, known_classes)
    elif group is not None:
        raise WorkloadError(
            f"{images}: group {group!r} names a column, but there is no {TABLE_NAME}"
        )
    else:
        layout = _from_folders(folder, names, known_classes)
    items = tuple(_item(folder, name, layout) for name in names)
    return Workload(items=items, classes=layout.classes)


def _image_names(folder: Path, prefix: str = "") -> Iterator[str]:
    """Images below `folder`, sorted level by level, as relative paths with forward slashes."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _image_names(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                yield prefix + entry.name
    except OSError as error:  # no permission, or a link that leads to its own folder
        raise WorkloadError(f"{error.filename}: cannot be listed ({error.strerror})") from None


def _from_table(
    table: Path, rows: Mapping[str, Row], names: list[str], classes: tuple[str, ...] | None
) -> _Layout:
    present = set(names)
    lost = [name for name in rows if name not in present]
    if lost:
        raise WorkloadError(
            f"{table}: {len(lost)} of {len(rows)} row(s) name a file that is no image in the "
            f"folder: {first_few(lost)}; add the files, or remove the rows"
        )
    bare = [name for name in names if name not in rows]
    if bare:
        raise WorkloadError(
            f"{table}: {len(bare)} of {len(names)} image(s) have no row: {first_few(bare)}; add "
            "rows, or move the images away"
        )
    try:
        indices, found = table_labels([rows[name].label for name in names], classes)
    except WorkloadError as error:
        raise WorkloadError(f"{table}: {error}") from None
    groups = {name: row.group for name, row in rows.items()}
    return _Layout(dict(zip(names, indices, strict=True)), groups, found)


def _from_folders(folder: Path, names: list[str], classes: tuple[str, ...] | None) -> _Layout:
    loose = [name for name in names if "/" not in name]
    nested = [name for name in names if "/" in name]
    if not nested:
        return _Layout(labels={}, groups={}, classes=classes or ())
    if loose:
        raise WorkloadError(
            f"{folder}: {len(nested)} image(s) lie in folders and {len(loose)} beside them "
            f"({first_few(loose)}); put every image into the folder of its class, or add a "
            f"{TABLE_NAME}"
        )
    kinds = {name: name.partition("/")[0] for name in names}
    used = sorted(set(kinds.values()))
    _check_class_folders(folder, used, classes)
    try:
        index, found = folder_labels(used, classes)
    except WorkloadError as error:
        raise WorkloadError(f"{folder}: {error}") from None
    return _Layout({name: index[kind] for name, kind in kinds.items()}, {}, found)


def _check_class_folders(folder: Path, used: list[str], classes: tuple[str, ...] | None) -> None:
    empty = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in used
    )
    if empty:
        raise WorkloadError(
            f"{folder}: {len(empty)} class folder(s) hold no images: {first_few(empty)}; add "
            "images, or remove the folders"
        )
    if len(used) == 1 and classes is None:
        raise WorkloadError(
            f"{folder}: has one class folder only ({used[0]}); add the others, "
            "or give `classes`; for images without labels, name the inner folder"
        )


def _item(folder: Path, name: str, layout: _Layout) -> Item:
    path = folder / name
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read ({error.strerror})") from None
    return Item(
        path=path,
        name=name,
        label=layout.labels.get(name),
        group=layout.groups.get(name),
        sha256=sha256,
        size_bytes=size_bytes,
    )
