"""TFLite metadata for tests: one table as MediaPipe writes it, and others made here."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from sample_tflite import tflite_model

#: Written by MediaPipe 1.2.3 (its metadata_schema_py_generated): an image in RGB, mean and std
#: 127.5, statistics; labels in labels_de.txt (language de), then in labels.txt.
MEDIAPIPE_TABLE = base64.b64decode(
    "GAAAAE0wMDEAAA4AFAAQAAwAAAAIAAQADgAAABAAAAAUAAAArAEAALABAAABAAAAYQAAAAEAAAAQAAAADAAMAAAAAAAI"
    "AAQADAAAAAgAAADAAAAAAQAAABgAAAAAABIADAAIAAAAAAAAAAAAAAAEABIAAAAIAAAAiAAAAAIAAABIAAAAEAAAAAAA"
    "CgAQAAwACAAHAAoAAAAAAAACCAAAAAwAAAABAAAAbAAAAAoAAABsYWJlbHMudHh0AAAMABQAEAAMAAsABAAMAAAAEAAA"
    "AAAAAAIQAAAAFAAAAAIAAABkZQAAAQAAAGwAAAANAAAAbGFiZWxzX2RlLnR4dAAAAAsAAABwcm9iYWJpbGl0eQABAAAA"
    "FAAAABAAGAAUABAAAAAMAAgABAAQAAAAFAAAACwAAABwAAAAhAAAAIgAAADI////CAAAAAwAAAABAAAAAAAAAAEAAAAA"
    "AH9DAQAAAAwAAAAIAAwACwAEAAgAAAAQAAAAAAAAAQgADAAIAAQACAAAAAgAAAAMAAAAAQAAAAAA/0IBAAAAAAD/QggA"
    "CgAJAAQACAAAAAwAAAAAAgYACAAHAAYAAAAAAAABAQAAAHgAAAAFAAAAaW1hZ2UAAAABAAAAZAAAAA0AAABmb3VyIHRl"
    "eHR1cmVzAAAA"
)


def write_described_tflite(
    path: Path, table: bytes | None, packed: Mapping[str, str], width: int = 8, **options: Any
) -> Path:
    """A TFLite file of sample_tflite with a table of metadata, and files packed behind it."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite_model(width, **options), 0))
    if table is not None:
        model.buffers.append(schema.BufferT(data=list(table)))
        entry = schema.MetadataT(name="TFLITE_METADATA", buffer=len(model.buffers) - 1)
        model.metadata = [entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = io.BytesIO(builder.Output())
    if packed:
        with zipfile.ZipFile(content, "a") as archive:
            for name, text in packed.items():
                archive.writestr(name, text)
    path.write_bytes(content.getvalue())
    return path


def metadata_table(mean: Sequence[float], std: Sequence[float]) -> bytes:
    """A table that says nothing but a normalisation."""
    builder = flatbuffers.Builder(256)
    vectors = [_floats(builder, values) for values in (mean, std)]
    options = _table(builder, {0: vectors[0], 1: vectors[1]})
    unit = _table(builder, {1: options}, {0: 1})
    image = _table(builder, {4: _tables(builder, [unit])})
    graph = _table(builder, {2: _tables(builder, [image])})
    builder.Finish(_table(builder, {3: _tables(builder, [graph])}), b"M001")
    return bytes(builder.Output())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def _tables(builder: flatbuffers.Builder, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _table(
    builder: flatbuffers.Builder, places: Mapping[int, int], kinds: Mapping[int, int] | None = None
) -> int:
    """A table with offsets, and bytes, in its fields by number."""
    builder.StartObject(8)
    for field, place in places.items():
        builder.PrependUOffsetTRelativeSlot(field, place, 0)
    for field, kind in (kinds or {}).items():
        builder.PrependUint8Slot(field, kind, 0)
    return int(builder.EndObject())
