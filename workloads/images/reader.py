"""From a folder to a workload: a folder per class, a labels.csv, or images alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trimtab.workloads.images.classes import read_classes
from trimtab.workloads.images.exclusion import Excluded, read_excluded
from trimtab.workloads.images.files import (
    FolderContents,
    folders_in,
    image_suffixes,
    left_out_text,
    list_images,
)
from trimtab.workloads.images.label_table import Row, read_table
from trimtab.workloads.images.layout import TABLE_NAME, Layout, folder_layout, table_layout
from trimtab.workloads.images.split_folders import split_folders
from trimtab.workloads.images.text import first_few
from trimtab.workloads.workload import Item, Workload
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.decoding import open_regular

#: Endings of files that often hold labels.
_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".parquet", ".xml")


def read_workload(
    images: Path,
    labels: Path | None = None,
    classes: Sequence[str] | Path | None = None,
    group: str | None = None,
    exclude: Path | None = None,
) -> Workload:
    """Read the images under `images`, sorted by path, with their labels where there are any.

    - With `labels`, or a `labels.csv` in the folder (or in every folder of a split), that table
      rules: columns `file` (relative to `images`) and `label` (class index, or class name);
      `group` may name a third one, which says what object an image shows.
    - Else every folder in `images` is a class, with images at any depth.
    - Else the images have no labels, and agreement with a reference member stands in.

    Where the outermost folders are called train, val and test, or alike, they are splits (items
    say which) and hold one of the three. `classes` (names in the order of a model's outputs, or a
    text file with one a line) is needed where the labels alone do not tell all classes. Images
    that the file `exclude` names are left out. Files that are hidden, or no images by their
    ending, are counted and left out; files that cannot be opened are left out with their reason
    (`Workload.unreadable`). No image is decoded here: see images/checks.py.

    Raises WorkloadError for anything that does not fit, with the number of cases and the first.
    """
    folder = Path(images).absolute()
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise WorkloadError(f"{images}: {what}; `images` must be a folder of images")
    contents = list_images(folder)
    if not contents.names:
        raise WorkloadError(_no_images(images, contents))
    layout = _layout(folder, contents, labels, read_classes(classes), group)
    items, unreadable = [], [f"{folder / name}: leads nowhere" for name in contents.broken]
    for name in contents.names:
        try:
            items.append(_item(folder, name, layout))
        except OSError as error:
            unreadable.append(f"{folder / name}: cannot be read ({error.strerror})")
    notices = [*layout.notices, *_unread_tables(folder, layout)]
    if contents.left_out:
        notices.append(f"not read in {images}: {left_out_text(contents.left_out)}")
    found = Workload(
        items=tuple(items),
        classes=layout.classes,
        left_out=contents.left_out,
        unreadable=tuple(unreadable),
        notices=tuple(notices),
    )
    return found if exclude is None else _without(found, read_excluded(exclude, folder))


def _unread_tables(folder: Path, layout: Layout) -> list[str]:
    """What to tell of files beside images without labels that may hold some."""
    if layout.labels:
        return []
    found = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _TABLES)
    found = [name for name in found if name not in ("classes.txt", "class_names.txt")]
    if not found:
        return []
    return [
        f"the images have no labels, and {first_few(found)} beside them is not read: labels are "
        f"read from a CSV table called {TABLE_NAME}, or that `workload.labels` names, with the "
        "columns file and label"
    ]


def _no_images(images: Path, contents: FolderContents) -> str:
    other = left_out_text(contents.left_out)
    broken = f"; {len(contents.broken)} link(s) lead nowhere" if contents.broken else ""
    return (
        f"{images}: holds no images; expected files that end in {' '.join(image_suffixes())}"
        f"{f', found {other}' if other else ''}{broken}"
    )


def _layout(
    folder: Path,
    contents: FolderContents,
    labels: Path | None,
    classes: tuple[str, ...] | None,
    group: str | None,
) -> Layout:
    outermost = sorted({name.partition("/")[0] for name in contents.names if "/" in name})
    loose = any("/" not in name for name in contents.names)
    try:
        splits = {} if loose else split_folders(outermost, classes)
    except WorkloadError as error:
        raise WorkloadError(f"{folder}: {error}") from None
    table = Path(labels) if labels is not None else folder / TABLE_NAME
    if labels is not None or table.exists():
        rows = read_table(table, group)
        return table_layout(folder, table, rows, contents, classes, splits)
    of_splits = [folder / name / TABLE_NAME for name in splits]
    if of_splits and all(table.exists() for table in of_splits):
        joined = _joined(folder, of_splits, group)
        return table_layout(folder, table, joined, contents, classes, splits)
    if group is not None:
        raise WorkloadError(
            f"{folder}: group {group!r} names a column, but there is no {TABLE_NAME}"
        )
    places = [folder / name for name in splits] or [folder]
    class_folders = {name for place in places for name in folders_in(place)}
    return folder_layout(folder, contents, classes, splits, class_folders)


def _joined(folder: Path, tables: Sequence[Path], group: str | None) -> dict[str, Row]:
    """The rows of the tables of all splits, named from the folder."""
    return {
        f"{table.parent.name}/{name}": row
        for table in tables
        for name, row in read_table(table, group).items()
    }


def _item(folder: Path, name: str, layout: Layout) -> Item:
    path = folder / name
    with open_regular(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    return Item(
        path=path,
        name=name,
        label=layout.labels.get(name),
        group=layout.groups.get(name),
        sha256=sha256,
        size_bytes=size_bytes,
        split=layout.splits.get(name),
    )


def _without(workload: Workload, excluded: Excluded) -> Workload:
    """Without the images that were seen in training, and saying how many those are."""
    kept = tuple(item for item in workload.items if not excluded.has(item))
    gone = len(workload) - len(kept)
    if not kept:
        raise WorkloadError(f"{excluded.source}: names every image, so that none is left")
    shown = [item.name for item in workload.items if excluded.has(item)]
    told = (
        f"{excluded.source}: leaves out {gone} of {len(workload)} image(s): {first_few(shown)}"
        if gone
        else f"{excluded.source}: none of its {len(excluded)} line(s) names an image here"
    )
    return replace(workload, items=kept, notices=(*workload.notices, told))
