"""What a folder says about its images: by a table, by folders of classes, by folders of splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.workloads.images.classes import (
    assumed_order,
    close_names,
    folder_labels,
    table_labels,
)
from trimtab.workloads.images.files import FolderContents, left_out_text
from trimtab.workloads.images.label_table import Row
from trimtab.workloads.images.split_folders import splits_within
from trimtab.workloads.images.text import composed, first_few
from trimtab_runtime.errors import WorkloadError

TABLE_NAME = "labels.csv"


@dataclass(frozen=True)
class Layout:
    """Labels, groups and splits of images by their names, and the classes. `notices` tell what
    was assumed."""

    labels: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, str | None] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def table_layout(
    folder: Path,
    table: Path,
    rows: Mapping[str, Row],
    contents: FolderContents,
    classes: tuple[str, ...] | None,
    splits: Mapping[str, str],
) -> Layout:
    """As the `rows` of a table say; the folders of `splits` are no part of that."""
    names = contents.names
    rows = _found_rows(folder, rows, (*names, *contents.broken))
    present = {*names, *contents.broken}
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
    groups = {name: rows[name].group for name in names}
    labels = dict(zip(names, indices, strict=True))
    listed = {name: split for name in names if (split := rows[name].split)}
    by_folder = _split_of(names, splits)
    apart = [name for name in listed if by_folder.get(name, listed[name]) != listed[name]]
    if apart:
        raise WorkloadError(
            f"{table}: {len(apart)} of {len(listed)} row(s) name another split than the folder of "
            f"their image: {first_few(apart)}; move the images, or remove the column"
        )
    notices = [*_from_one(indices, classes), *([] if classes else close_names(found))]
    return Layout(labels, groups, by_folder or listed, found, tuple(notices))


def _from_one(indices: Sequence[int], classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """Labels that may count from 1, where outputs count from 0."""
    if classes is not None or min(indices) != 1:
        return ()
    return (
        f"the labels run from 1 to {max(indices)} and are taken as they are, so that no image is "
        "of class 0: if they count from 1, subtract 1, or name the classes in `classes`",
    )


def _found_rows(folder: Path, rows: Mapping[str, Row], names: Sequence[str]) -> dict[str, Row]:
    """Rows by the names as they are on the disk: tables may have paths as Windows writes them,
    absolute ones, and accents encoded otherwise."""
    on_disk = {composed(name): name for name in names}
    start = f"{composed(str(folder))}/"
    found = {}
    for name, row in rows.items():
        plain = composed(name)
        if plain not in on_disk:
            plain = plain.replace("\\", "/").removeprefix(start).removeprefix("./")
        found[on_disk.get(plain, name)] = row
    if len(found) < len(rows):
        raise WorkloadError("two rows of the table name the same file in different spellings")
    return found


def folder_layout(
    folder: Path,
    contents: FolderContents,
    classes: tuple[str, ...] | None,
    splits: Mapping[str, str],
    all_folders: Set[str],
) -> Layout:
    """A folder per class, perhaps below a folder per split; images alone have no labels.

    `all_folders` are the class folders that there are, with images or without.
    """
    names = contents.names
    inner = {name: _inner(name, splits) for name in names}
    loose = [name for name in names if "/" not in inner[name]]
    nested = [name for name in names if "/" in inner[name]]
    if not nested:
        return Layout(splits=_split_of(names, splits), classes=classes or ())
    if loose:
        raise WorkloadError(
            f"{folder}: {len(nested)} image(s) lie in folders and {len(loose)} beside them "
            f"({first_few(loose)}); put every image into the folder of its class, or add a "
            f"{TABLE_NAME}"
        )
    kinds = {name: inner[name].partition("/")[0] for name in names}
    used = sorted(set(kinds.values()))
    _check_class_folders(folder, used, contents, classes, all_folders)
    try:
        index, found = folder_labels(used, classes)
    except WorkloadError as error:
        raise WorkloadError(f"{folder}: {error}") from None
    within = {name: inner[name].split("/")[1:-1] for name in names}
    found_splits = _split_of(names, splits) or splits_within(within)
    notices: tuple[str, ...] = ()
    if classes is None:
        levels = None if found_splits else _two_levels(kinds, within)
        order = assumed_order(used)
        notices = (*([order] if order else ()), *close_names(used), *([levels] if levels else ()))
    return Layout(
        {name: index[kind] for name, kind in kinds.items()},
        splits=found_splits,
        classes=found,
        notices=notices,
    )


def _two_levels(kinds: Mapping[str, str], within: Mapping[str, Sequence[str]]) -> str | None:
    """What to tell where class folders all hold the same folders, which may be the classes."""
    below: dict[str, set[str]] = {}
    for name, kind in kinds.items():
        below.setdefault(kind, set()).add("/".join(within[name][:1]))
    first, *others = below.values()
    if len(first) < 2 or "" in first or any(found != first for found in others):
        return None
    return (
        f"each of the class folders ({first_few(sorted(below))}) holds the same folders "
        f"({first_few(sorted(first))}): if those are the classes, move them up one level"
    )


def _inner(name: str, splits: Mapping[str, str]) -> str:
    """The path below the folder of a split."""
    return name.partition("/")[2] if splits else name


def _split_of(names: Sequence[str], splits: Mapping[str, str]) -> dict[str, str]:
    return {name: splits[name.partition("/")[0]] for name in names} if splits else {}


def _check_class_folders(
    folder: Path,
    used: Sequence[str],
    contents: FolderContents,
    classes: tuple[str, ...] | None,
    all_folders: Set[str],
) -> None:
    empty = sorted(all_folders - set(used))
    if empty:
        other = left_out_text(contents.left_out)
        raise WorkloadError(
            f"{folder}: {len(empty)} class folder(s) hold no images: {first_few(empty)}; add "
            f"images, or remove the folders{f' (not read: {other})' if other else ''}"
        )
    if len(used) == 1 and classes is None:
        raise WorkloadError(
            f"{folder}: has one class folder only ({used[0]}); add the others, "
            "or give `classes`; for images without labels, name the inner folder"
        )
