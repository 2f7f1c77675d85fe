"""What in an ONNX graph makes its answers, or its use on other machines, doubtful."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.variants.files.onnx_input import constant_values

if TYPE_CHECKING:
    import onnx

_RANDOM = {
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
    "RandomUniformLike",
}
_SHOWN = 3


def find_doubts(model: onnx.ModelProto) -> Iterator[str]:
    """A sentence for each kind of doubtful node in the graph and the graphs inside of it."""
    found: dict[str, list[str]] = {}
    for graph, node in _nodes(model.graph):
        kind = _doubt(graph, node)
        if kind is not None:
            found.setdefault(kind, []).append(node.name or node.output[0])
    for kind, names in found.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield kind.format(", ".join(names[:_SHOWN]) + more)


def random_operators(model: onnx.ModelProto) -> list[str]:
    """Types of the operators that draw random numbers, each once."""
    drawn = (
        node.op_type
        for graph, node in _nodes(model.graph)
        if node.op_type in _RANDOM or _drops(graph, node)
    )
    return sorted(set(drawn))


def _doubt(graph: onnx.GraphProto, node: onnx.NodeProto) -> str | None:
    """A sentence with a place for names."""
    if node.op_type == "BatchNormalization" and _integer(node, "training_mode"):
        return (
            "BatchNormalization in training mode ({}): it normalises by the one image that it "
            "sees, not by what was learned; export it again in evaluation mode (model.eval())"
        )
    if _drops(graph, node):
        return (
            "Dropout in training mode ({}): it drops values at random; export it again in "
            "evaluation mode (model.eval())"
        )
    if node.domain == "com.microsoft.nchwc":
        return (
            "it was saved after onnxruntime had optimised it for one kind of processor (blocked "
            "layout, {}): it may be slower or refused elsewhere; take the file before that, or "
            "save it with at most extended optimisations"
        )
    return None


def _drops(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    if node.op_type != "Dropout" or len(node.input) < 3:
        return False
    value = constant_values(graph).get(node.input[2])
    return value is not None and bool(value.reshape(-1)[0])


def _integer(node: onnx.NodeProto, name: str) -> int:
    return next((int(found.i) for found in node.attribute if found.name == name), 0)


def _nodes(graph: onnx.GraphProto) -> Iterator[tuple[onnx.GraphProto, onnx.NodeProto]]:
    for node in graph.node:
        yield graph, node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner)
