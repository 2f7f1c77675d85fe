"""Writing ONNX models so that equal inputs give equal bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx


def strip_notes(model: onnx.ModelProto) -> None:
    """Remove documentation and metadata, in place: exporters write paths there."""
    import onnx

    model.doc_string = ""
    model.ClearField("metadata_props")
    for function in model.functions:
        function.doc_string = ""
        function.ClearField("metadata_props")
        _strip_nodes(function.node)
        _strip_all(function.value_info)
    graphs: list[onnx.GraphProto] = [model.graph]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        graph.ClearField("metadata_props")
        for values in (graph.input, graph.output, graph.value_info):
            _strip_all(values)
        for tensor in graph.initializer:
            tensor.doc_string = ""
            tensor.ClearField("metadata_props")
        _strip_nodes(graph.node)
        for node in graph.node:
            graphs.extend(a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)


def _strip_nodes(nodes: object) -> None:
    for node in nodes:  # type: ignore[attr-defined]
        node.doc_string = ""
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            attribute.doc_string = ""


def _strip_all(values: object) -> None:
    for value in values:  # type: ignore[attr-defined]
        value.doc_string = ""
        value.ClearField("metadata_props")


def write_model(model: onnx.ModelProto, out: Path) -> None:
    """Write the file whole or not at all. Raises ModelError when it cannot be written."""
    content = model.SerializeToString(deterministic=True)
    with _replacing(out) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".making-", suffix=out.suffix, dir=out.parent)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        temporary.replace(out)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
