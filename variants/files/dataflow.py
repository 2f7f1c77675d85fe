"""How data flows through an ONNX graph: which tensors alone carry everything, shapes, work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab.variants.files.graphs import read_names
from trimtab.variants.files.onnx import read_graph

if TYPE_CHECKING:
    import onnx

WEIGHTS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), 1),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), 1),
    **dict.fromkeys(("FusedConv", "FusedGemm", "FusedMatMul"), 1),
    **dict.fromkeys(("QGemm", "QLinearConv", "QLinearMatMul"), 3),
}
"""Operators that multiply and accumulate, and which of their inputs is the second factor."""

_ASSUMED_SIDE = 224  # pixels, where a file leaves its input size open


class NotCuttable(Exception):
    """Why a graph has no place to cut at, as a sentence."""


@dataclass(frozen=True)
class Flow:
    """A graph with one image in and one output.

    `nodes` are those on a way from the image to the output, in the file's (topological) order;
    constants and what is made of constants alone do not count. `carriers` maps each tensor that
    alone carries everything (every way from the image to the output leads through it; neither of
    the two itself) to the index in `nodes` of its maker, in network order.
    """

    model: onnx.ModelProto
    image: str
    output: str
    nodes: tuple[onnx.NodeProto, ...]
    carriers: Mapping[str, int]


def read_flow(path: Path) -> Flow:
    """Read a graph.

    Raises ModelError when the file is damaged, NotCuttable when it has not one input and output.
    """
    model = read_graph(path)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    if (len(inputs), len(outputs)) != (1, 1):
        raise NotCuttable(
            f"taps need one image in and one output, but it has inputs {inputs} and outputs "
            f"{outputs}"
        )
    nodes = _alive(graph, inputs[0], outputs[0])
    if not any(outputs[0] in node.output for node in nodes):
        raise NotCuttable("no way leads from its input to its output in the order of its nodes")
    return Flow(model, inputs[0], outputs[0], nodes, _carriers(nodes, inputs[0], outputs[0]))


def needed_nodes(
    graph: onnx.GraphProto, wanted: Iterable[str], given: Iterable[str]
) -> list[onnx.NodeProto]:
    """The nodes that make the tensors `wanted` where `given` are there, in the file's order."""
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output}
    seen, waiting = set(given), list(wanted)
    needed: set[int] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in made_by:
            continue
        seen.add(name)
        if made_by[name] not in needed:
            needed.add(made_by[name])
            waiting.extend(read_names(graph.node[made_by[name]]))
    return [graph.node[index] for index in sorted(needed)]


def _alive(graph: onnx.GraphProto, image: str, output: str) -> tuple[onnx.NodeProto, ...]:
    depends, alive = {image}, []
    for node in needed_nodes(graph, [output], [image]):
        if not depends.isdisjoint(read_names(node)):
            depends.update(node.output)
            alive.append(node)
    return tuple(alive)


def _carriers(nodes: tuple[onnx.NodeProto, ...], image: str, output: str) -> dict[str, int]:
    """Behind its maker, a tensor that alone carries everything is the only one still awaited.

    Every node is before or behind such a tensor, so this holds in any topological order.
    """
    last_reader = {name: index for index, node in enumerate(nodes) for name in read_names(node)}
    read_last: dict[int, list[str]] = {}
    for name, index in last_reader.items():
        read_last.setdefault(index, []).append(name)
    found: dict[str, int] = {}
    awaited = {image}
    for index, node in enumerate(nodes):
        awaited.update(name for name in node.output if name in last_reader)
        awaited.difference_update(read_last.get(index, ()))
        if len(awaited) == 1:
            (name,) = awaited
            if name in node.output:
                found[name] = index
    return {name: index for name, index in found.items() if name not in (image, output)}


Shape = tuple[int | None, ...]


def tensor_shapes(flow: Flow, size: tuple[int, int] | None) -> dict[str, tuple[int, Shape]]:
    """Element type (onnx.TensorProto) and shape of the tensors, by onnx's shape inference.

    `size` (height, width) is for files that leave it open; a batch is 1. Raises NotCuttable.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(flow.model)
    graph = model.graph
    _fix_image(next(v for v in graph.input if v.name == flow.image), size)
    # What the file says of open sizes would stand in the way of what follows from the image's.
    graph.output[0].type.tensor_type.ClearField("shape")
    kept = [value for value in graph.value_info if None not in _dims(value)]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # onnx's errors share no public base class
        raise NotCuttable(
            f"the shapes of its tensors cannot be told ({first_line(error)})"
        ) from error
    found = {
        value.name: (value.type.tensor_type.elem_type, _dims(value))
        for value in [*graph.input, *graph.value_info, *graph.output]
        if value.type.tensor_type.HasField("shape")
    }
    for tensor in graph.initializer:
        found[tensor.name] = (tensor.data_type, tuple(tensor.dims))
    return found


def _dims(value: onnx.ValueInfoProto) -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _fix_image(value: onnx.ValueInfoProto, size: tuple[int, int] | None) -> None:
    dims = value.type.tensor_type.shape.dim
    if len(dims) != 4:
        raise NotCuttable(f"its input has {len(dims)} dimensions; taps need images (1, C, H, W)")
    if not dims[0].dim_value:
        dims[0].dim_value = 1
    sides = iter(size or (_ASSUMED_SIDE, _ASSUMED_SIDE))
    fixed_last = dims[3].dim_value in (1, 3) and dims[1].dim_value not in (1, 3)
    for dim in [dims[1], dims[2]] if fixed_last else [dims[2], dims[3]]:
        side = next(sides)
        if not dim.dim_value:
            dim.dim_value = side


def multiply_accumulates(
    node: onnx.NodeProto, shapes: Mapping[str, tuple[int, Shape]]
) -> int | None:
    """Multiply-accumulates of one node for one image; None where its shapes are not known."""
    if node.op_type not in WEIGHTS:
        return 0
    weight = _known(shapes, node.input[WEIGHTS[node.op_type]])
    first, result = _known(shapes, node.input[0]), _known(shapes, node.output[0])
    if weight is None or first is None or result is None:
        return None
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:])
    if node.op_type.endswith(("MatMul", "MatMulInteger")):
        turned = any(a.name == "transA" and a.i for a in node.attribute)  # of FusedMatMul
        return math.prod(result) * first[-2 if turned else -1]
    if node.op_type.endswith("Gemm"):
        return math.prod(result[:-1]) * math.prod(weight)
    return math.prod(result) * math.prod(weight[1:])


def _known(shapes: Mapping[str, tuple[int, Shape]], name: str) -> tuple[int, ...] | None:
    _, shape = shapes.get(name, (0, (None,)))
    known = tuple(size for size in shape if size is not None)
    return known if len(known) == len(shape) else None
