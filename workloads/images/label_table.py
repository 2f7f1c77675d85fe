"""labels.csv: which label, and which group, belongs to which file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trimtab.workloads.images.text import first_few, read_text
from trimtab_runtime.errors import WorkloadError


@dataclass(frozen=True)
class Row:
    """A row as it stands in the table: texts, nothing yet looked up."""

    label: str
    group: str | None


def read_table(path: Path, group: str | None = None) -> dict[str, Row]:
    """Rows by file name (relative, forward slashes). `group` names the column of the groups.

    The header names the columns `file` and `label`, in any order and case and among others;
    commas, semicolons or tabs separate them. Raises WorkloadError for missing columns, empty
    cells, and files that occur twice.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
        columns = [_column(name) for name in reader.fieldnames or ()]
        needed = ["file", "label"] + ([group] if group is not None else [])
        _require_columns(path, columns, needed)
        reader.fieldnames = columns
        read = [
            (reader.line_num, [(row[name] or "").strip() for name in needed]) for row in reader
        ]
    except csv.Error as error:
        raise WorkloadError(f"{path}: cannot be read as CSV ({error})") from None
    cells = [row for row in read if any(row[1])]  # spreadsheets leave rows of separators alone
    return _rows(path, cells, needed)


def _column(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in ("file", "label") else name


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
        for column, value in zip(needed, values, strict=True)
        if not value
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
    return {
        name: Row(label=values[1], group=values[2] if len(values) > 2 else None)
        for name, (_, values) in zip(names, cells, strict=True)
    }
