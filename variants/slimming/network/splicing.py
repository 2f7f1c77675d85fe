"""Joining ONNX graphs by names: what blocks look like, and how they get into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trimtab.variants.files.graphs import free_name
from trimtab.variants.slimming.network.preparation import DOMAINS
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "input", "output"
"""Names of a block's input and output."""


def opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that a model imports."""
    return next(int(o.version) for o in model.opset_import if o.domain in DOMAINS)


def rename(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    """Give tensors of a graph without control flow other names, in place."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    for values in (graph.initializer, graph.value_info, graph.input, graph.output):
        for value in values:
            value.name = renamed.get(value.name, value.name)


def block_shapes(block: onnx.ModelProto) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of a block's input and output. Raises ModelError where it has not one of each,
    named `input` and `output`, of known shape."""
    graph = block.graph
    if [[v.name for v in values] for values in (graph.input, graph.output)] != [[INPUT], [OUTPUT]]:
        raise ModelError(
            f"a block has one input {INPUT!r} and one output {OUTPUT!r}, got inputs "
            f"{[v.name for v in graph.input]} and outputs {[v.name for v in graph.output]}"
        )
    shapes = []
    for value in (graph.input[0], graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        shapes.append(tuple(int(d.dim_value) for d in dims))
        if not all(shapes[-1]):
            raise ModelError(f"a block's {value.name} must have a fixed shape, got {shapes[-1]}")
    return shapes[0], shapes[1]


def insert_block(
    graph: onnx.GraphProto, block: onnx.ModelProto, start: str, end: str, taken: set[str]
) -> None:
    """Append a block's nodes and weights to `graph`, reading `start` and making `end`.

    Other names become `END/name`, made free of those in `taken`, which grows by them.
    """
    import onnx

    part = onnx.GraphProto()
    part.CopyFrom(block.graph)
    renamed = {INPUT: start, OUTPUT: end}
    made = [tensor.name for tensor in part.initializer]
    made += [name for node in part.node for name in node.output if name]
    for name in made:
        if name not in renamed:
            renamed[name] = free_name(f"{end}/{name}", taken)
            taken.add(renamed[name])
    rename(part, renamed)
    for node in part.node:
        node.name = f"{end}/{node.name or node.op_type}"
    graph.node.extend(part.node)
    graph.initializer.extend(part.initializer)
