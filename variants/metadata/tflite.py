"""TFLite metadata: a flatbuffer in the model (normalisation, colours), and files packed behind it
(labels).

The tables are those of `metadata_schema.fbs` of TFLite Support and MediaPipe. Only the few fields
that matter here are read, by their numbers there.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimtab.variants.metadata.class_files import class_lines
from trimtab.variants.metadata.description import (
    Description,
    Unreadable,
    normalisation,
    parsed,
)
from trimtab.variants.metadata.keys import read_keys

_BUFFER = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_SOURCE = "the file's TFLite metadata"
_NORMALISATION, _IMAGE = 1, 2  # kinds of a process unit's options, of a tensor's content
_AXIS_LABELS = 2
_COLOURS = {1: "rgb", 2: "gray"}
_MOST_BYTES, _MOST_ENTRIES = 2**22, 64
#: What flatbuffers raise on bytes that are no table.
_DAMAGED = (struct.error, IndexError, ValueError, TypeError, OverflowError)


def read_tflite(path: Path) -> Iterator[Description]:
    """What a TFLite file says of itself; nothing where LiteRT's schema is not installed."""
    try:
        metadata = _metadata_buffer(path.read_bytes())
    except _DAMAGED as error:
        yield Description(_SOURCE, problems=(f"{_SOURCE}: damaged ({error})",))
        return
    packed = _packed(path)
    names: list[str] = []
    if metadata is not None:
        try:
            found, names = _described(metadata)
        except (*_DAMAGED, Unreadable) as error:
            found = Description(_SOURCE, problems=(f"{_SOURCE}: cannot be read ({error})",))
        yield _with_labels(found, names, packed)
    yield from _other_exporters(packed, named=bool(names))


def _metadata_buffer(content: bytes) -> bytes | None:
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        return None
    model = schema.Model.GetRootAs(content, 0)
    for number in range(min(model.MetadataLength(), _MOST_ENTRIES)):
        entry = model.Metadata(number)
        if entry.Name() == _BUFFER.encode():
            data = model.Buffers(entry.Buffer()).DataAsNumpy()
            return None if isinstance(data, int) else bytes(data)
    return None


class _Table:
    """A flatbuffer's table, its fields by number."""

    def __init__(self, content: bytes, position: int) -> None:
        from flatbuffers.table import Table

        self._content = content
        self._table: Any = Table(content, position)

    @classmethod
    def root(cls, content: bytes) -> _Table:
        if content[4:8] != _IDENTIFIER:
            raise ValueError(f"it does not begin with {_IDENTIFIER.decode()}")
        return cls(content, struct.unpack_from("<I", content)[0])

    def _place(self, field: int) -> int:
        """Where a field stands; 0 where it is absent."""
        offset = self._table.Offset(4 + 2 * field)
        return int(offset and offset + self._table.Pos)

    def byte(self, field: int) -> int:
        place = self._place(field)
        return self._content[place] if place else 0

    def text(self, field: int) -> str:
        place = self._place(field)
        return bytes(self._table.String(place)).decode() if place else ""

    def floats(self, field: int) -> list[float]:
        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}f", self._content, start)) if count else []

    def table(self, field: int) -> _Table | None:
        place = self._place(field)
        return _Table(self._content, self._table.Indirect(place)) if place else None

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        places = (start + 4 * number for number in range(count))
        return [_Table(self._content, self._table.Indirect(place)) for place in places]

    def _vector(self, field: int) -> tuple[int, int]:
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return 0, 0
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        if start + 4 * count > len(self._content):
            raise ValueError("a list is longer than the file")
        return start, count


def _described(metadata: bytes) -> tuple[Description, list[str]]:
    """What the table says, and the names of packed files with labels."""
    graphs = _Table.root(metadata).tables(3)
    if not graphs:
        return Description(_SOURCE), []
    images, outputs = graphs[0].tables(2), graphs[0].tables(3)
    found: dict[str, Any] = {}
    for tensor in images[:1]:
        found |= _of_image(tensor)
    files = [file for tensor in outputs[:1] for file in tensor.tables(6)]
    labels = [file for file in files if file.byte(2) == _AXIS_LABELS]
    labels.sort(key=lambda file: bool(file.text(3)))  # those without a language first
    return Description(_SOURCE, found), [file.text(0) for file in labels]


def _of_image(tensor: _Table) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.byte(0) == _NORMALISATION and options is not None:
            found |= normalisation(options.floats(0), options.floats(1), 0.0, 1.0)
    content = tensor.table(3)
    if content is not None and content.byte(0) == _IMAGE:
        image = content.table(1)
        colour = _COLOURS.get(image.byte(0)) if image is not None else None
        if colour:
            found["colour"] = colour
    return found


def _packed(path: Path) -> dict[str, bytes]:
    """Small files that are packed behind the model."""
    if not zipfile.is_zipfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist()[:_MOST_ENTRIES] if e.file_size <= _MOST_BYTES]
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return {}


def _with_labels(found: Description, names: list[str], packed: dict[str, bytes]) -> Description:
    if not names:
        return found
    name = next((name for name in names if name in packed), None)
    if name is None:
        text = f"{_SOURCE}: its labels {names[0]!r} are not packed behind the model"
        return replace(found, problems=(*found.problems, text))
    try:
        labels = class_lines(packed[name].decode("utf-8-sig"))
    except (UnicodeDecodeError, Unreadable) as error:
        text = f"{_SOURCE}: its {name} cannot be read ({error})"
        return replace(found, problems=(*found.problems, text))
    return replace(found, source=f"{_SOURCE} ({name})", labels=labels)


def _other_exporters(packed: dict[str, bytes], named: bool) -> Iterator[Description]:
    """Ultralytics packs its keys as JSON, or as Python writes them; others a list of classes."""
    for name, content in packed.items():
        text = content.decode("utf-8-sig", errors="replace")
        where = f"{name} in the file"
        if name.endswith((".json", "meta.txt")):
            items = parsed(text)
            if isinstance(items, dict):
                yield read_keys(items, where)
        elif name.endswith(".txt") and not named:
            try:
                yield Description(where, labels=class_lines(text))
            except Unreadable as error:
                yield Description(where, problems=(f"{where}: {error}",))
