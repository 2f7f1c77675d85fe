"""labels.csv: which label, and which group, belongs to which file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trimtab.workloads.images.split_folders import split_called
from trimtab.workloads.images.text import first_few, read_text
from trimtab_runtime.errors import WorkloadError

#: What others call the columns of files and labels, in lower case.
FILE_COLUMNS = (
    *("filename", "file_name", "filepath", "file_path", "path", "image", "image_name"),
    *("image_path", "image_file", "img", "img_name", "img_path"),
)
LABEL_COLUMNS = (
    *("class", "class_name", "classname", "class_id", "category", "category_name"),
    *("category_id", "label_name", "label_id", "target"),
)
_SPLIT = "split"


@dataclass(frozen=True)
class Row:
    """A row as it stands in the table: texts, nothing yet looked up."""

    label: str
    group: str | None
    split: str | None = None


def read_table(path: Path, group: str | None = None) -> dict[str, Row]:
    """Rows by file name (relative, forward slashes). `group` names the column of the groups.

    The header names the columns `file` and `label`, or one of FILE_COLUMNS and LABEL_COLUMNS, in
    any order and case and among others; commas, semicolons or tabs separate them. A column `split`
    says train, val or test. Raises WorkloadError for missing columns, empty cells, files that
    occur twice, and splits that mean nothing.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    needed = ["file", "label"] + ([group] if group is not None else [])
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
        reader.fieldnames = columns = _columns(path, [n.strip() for n in reader.fieldnames or ()])
        _require_columns(path, columns, needed)
        read = [
            (reader.line_num, [(row.get(name) or "").strip() for name in (*needed, _SPLIT)])
            for row in reader
        ]
    except csv.Error as error:
        raise WorkloadError(f"{path}: cannot be read as CSV ({error})") from None
    cells = [row for row in read if any(row[1])]  # spreadsheets leave rows of separators alone
    return _rows(path, cells, needed)


def _columns(path: Path, names: list[str]) -> list[str]:
    """The columns with those that we read by our names for them."""
    plain, found = [name.lower().replace(" ", "_") for name in names], [*names]
    for ours, others in (("file", FILE_COLUMNS), ("label", LABEL_COLUMNS), (_SPLIT, ())):
        places = [n for n, name in enumerate(plain) if name == ours]
        places = places or [n for n, name in enumerate(plain) if name in others]
        different = {plain[n] for n in places}
        if len(different) > 1:
            raise WorkloadError(
                f"{path}: any of the columns {', '.join(names[n] for n in places)} may be the "
                f"{ours}; call one of them `{ours}`"
            )
        for place in places:
            found[place] = ours
    return found


def _require_columns(path: Path, columns: list[str], needed: list[str]) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        raise WorkloadError(
            f"{path}: has no column {' and no column '.join(missing)}; its first line names "
            f"{', '.join(columns) or 'nothing'}"
        )
    twice = [name for name in needed if columns.count(name) > 1]
    if twice:
        raise WorkloadError(f"{path}: has more than one column {twice[0]}; keep one")


def _rows(path: Path, cells: list[tuple[int, list[str]]], needed: list[str]) -> dict[str, Row]:
    empty = [
        f"{column} in line {line}"
        for line, values in cells
        for column, value in zip(needed, values, strict=False)
        if not value or value.lower() == "nan"
    ]
    if empty:
        raise WorkloadError(f"{path}: {len(empty)} cell(s) are empty: {first_few(empty)}")
    names = [PurePosixPath(values[0]).as_posix() for _, values in cells]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise WorkloadError(
            f"{path}: {len(twice)} file(s) have more than one row: {first_few(twice)}; keep one "
            "row for each file"
        )
    splits = _splits(path, [values[-1] for _, values in cells])
    return {
        name: Row(values[1], values[2] if len(needed) > 2 else None, split)
        for name, (_, values), split in zip(names, cells, splits, strict=True)
    }


def _splits(path: Path, told: list[str]) -> list[str | None]:
    """The split of each row; None where the column means something else, or is not there."""
    found = [split_called(text) for text in told]
    if len(set(found)) < 2:
        return [None] * len(told)
    strange = sorted(
        {text or "nothing" for text, split in zip(told, found, strict=True) if not split}
    )
    if strange:
        raise WorkloadError(
            f"{path}: the column {_SPLIT} says train, val or test in some rows, and in others "
            f"{first_few(strange)}; correct these, or call the column something else"
        )
    return list(found)
