"""Walks over ONNX graphs, each one pass: a graph may be as long and as wide as its file is."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def read_names(node: onnx.NodeProto) -> set[str]:
    """Tensors that a node reads, those that its subgraphs take from outside included."""
    found: set[str] = set()
    waiting: list[tuple[onnx.NodeProto, frozenset[str]]] = [(node, frozenset())]
    while waiting:
        reader, inside = waiting.pop()
        found.update(name for name in reader.input if name and name not in inside)
        for graph in _subgraphs(reader):
            made = {name for inner in graph.node for name in inner.output}
            made |= {value.name for value in [*graph.input, *graph.initializer]}
            known = inside | made
            found.update(value.name for value in graph.output if value.name not in known)
            waiting.extend((inner, known) for inner in graph.node)
    return found


def every_graph(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and all that stand inside of it."""
    waiting = [graph]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(inner for node in found.node for inner in _subgraphs(node))


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        graph
        for attribute in node.attribute
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    ]


def constant_tensors(graph: onnx.GraphProto) -> set[str]:
    """Initialisers, and what follows from constants alone; the graph's nodes are in order."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if found.issuperset(filter(None, node.input)):
            found.update(node.output)
    return found


def readers_of(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    """Which of the nodes read a tensor, by its name; what subgraphs read is left out."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    return found


def free_name(name: str, taken: Container[str]) -> str:
    """The name, underscores appended until it is none of those taken."""
    while name in taken:
        name += "_"
    return name
