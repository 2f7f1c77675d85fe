"""What in an ONNX graph makes its answers, or its use on other machines, doubtful."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from trimtab.variants.files.graphs import every_graph
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
    for graph in every_graph(model.graph):
        drops = _dropped(graph)
        for node in graph.node:
            kind = _doubt(node, drops)
            if kind is not None:
                found.setdefault(kind, []).append(node.name or node.output[0])
    for kind, names in found.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield kind.format(", ".join(names[:_SHOWN]) + more)


def random_operators(model: onnx.ModelProto) -> list[str]:
    """Types of the operators that draw random numbers, each once."""
    drawn: set[str] = set()
    for graph in every_graph(model.graph):
        drawn.update(node.op_type for node in graph.node if node.op_type in _RANDOM)
        if _dropped(graph):
            drawn.add("Dropout")
    return sorted(drawn)


def _doubt(node: onnx.NodeProto, dropped: Container[str]) -> str | None:
    """A sentence with a place for names; `dropped` are outputs of Dropouts that train."""
    if node.op_type == "BatchNormalization" and _integer(node, "training_mode"):
        return (
            "BatchNormalization in training mode ({}): it normalises by the one image that it "
            "sees, not by what was learned; export it again in evaluation mode (model.eval())"
        )
    if any(name in dropped for name in node.output):
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


def _dropped(graph: onnx.GraphProto) -> set[str]:
    """What the Dropouts of a graph make that drop values when it runs."""
    told = [node for node in graph.node if node.op_type == "Dropout" and len(node.input) > 2]
    if not told:
        return set()
    modes = constant_values(graph)
    return {
        node.output[0]
        for node in told
        if (mode := modes.get(node.input[2])) is not None and mode.size and mode.reshape(-1)[0]
    }


def _integer(node: onnx.NodeProto, name: str) -> int:
    return next((int(found.i) for found in node.attribute if found.name == name), 0)
