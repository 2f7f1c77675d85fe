"""TFLite files as objects of their schema, to be changed and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

#: Operators that run other graphs of the file.
CALLS = frozenset({"CALL", "CALL_ONCE", "IF", "STABLEHLO_COMPOSITE", "WHILE"})


def unpacked(path: Path) -> Any:
    """The file as a `ModelT`. Raises ModelError where it is damaged."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    except Exception as error:  # flatbuffers raises what unpacking raises
        raise ModelError(f"{path.name}: damaged ({first_line(error)})") from error


def packed(model: Any) -> bytes:
    """The file of a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
