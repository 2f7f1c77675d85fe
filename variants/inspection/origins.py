"""Which nodes of a file an engine's nodes carry out, as far as their names tell.

An optimised graph has fewer nodes, and onnxruntime names them after those that they replace: a
fused one after the node that it began with, one in a blocked layout after the tensor that it
makes, and where names would clash with a number behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.dataflow import (
    WEIGHTS,
    Flow,
    NotCuttable,
    Shape,
    multiply_accumulates,
    read_flow,
    tensor_shapes,
)
from trimtab.variants.files.graphs import read_names

if TYPE_CHECKING:
    import onnx

_WITH_WEIGHTS = re.compile("Conv|Gemm|MatMul|CONV_|_MATMUL|FULLY_CONNECTED|LSTM|GRU|RNN")
_NUMBER = re.compile(r"_token_\d+$")
#: What stands before a tensor's name where float16 is computed in float32.
_WIDENED = "InsertedPrecisionFreeCast_"
_QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True)
class Executed:
    """A node as an engine ran it."""

    name: str
    operator: str


@dataclass(frozen=True)
class Origin:
    """What an executed node carries out: (name, operator) of nodes of the file, in its order, and
    their multiply-accumulates for one image (None: not known). A node without a name goes by its
    first output."""

    nodes: tuple[tuple[str, str], ...] = ()
    multiply_accumulates: int | None = None


def holds_weights(operator: str) -> bool:
    """Whether an operator multiplies with a matrix or kernels of weights, in any engine's fused or
    quantised form. Normalisations hold vectors only, and count as without; a MatMul of two feature
    maps counts as with."""
    return _WITH_WEIGHTS.search(operator) is not None


def find_origins(
    path: Path, executed: Sequence[Executed], size: tuple[int, int] | None = None
) -> list[Origin]:
    """The origin of each executed node, empty where names do not tell; each node of the file is
    at most one's. `size` (height, width) is for a file that leaves it open.

    Raises ModelError when the file is missing or damaged.
    """
    try:
        flow = read_flow(path)
    except NotCuttable:
        return [_unknown(each) for each in executed]
    try:
        shapes = tensor_shapes(flow, size)
    except NotCuttable:
        shapes = {}
    owned = _Owners(flow, executed).nodes_of
    return [_origin(each, owned[i], flow, shapes) for i, each in enumerate(executed)]


def _unknown(executed: Executed) -> Origin:
    return Origin((), None if holds_weights(executed.operator) else 0)


def _origin(
    executed: Executed, owned: list[int], flow: Flow, shapes: Mapping[str, tuple[int, Shape]]
) -> Origin:
    nodes = [flow.nodes[index] for index in sorted(owned)]
    weighted = [node for node in nodes if node.op_type in WEIGHTS]
    total = _unknown(executed).multiply_accumulates
    if weighted:
        counts = [multiply_accumulates(node, shapes) for node in weighted]
        known = [count for count in counts if count is not None]
        total = sum(known) if len(known) == len(counts) else None
    told = [node for node in nodes if node.op_type not in _QUANTISERS] or nodes
    return Origin(tuple((node.name or node.output[0], node.op_type) for node in told), total)


class _Owners:
    """Gives nodes of a file to executed ones: those that names tell, the way up from there to the
    weights of one that has some, then what follows (activations, mostly)."""

    def __init__(self, flow: Flow, executed: Sequence[Executed]) -> None:
        self._nodes = flow.nodes
        self._maker = {name: i for i, node in enumerate(flow.nodes) for name in node.output}
        self._owner: dict[int, int] = {}
        anchors = self._anchors(executed)
        for number, index in anchors.items():
            self._owner.setdefault(index, number)
        for number, index in anchors.items():
            if holds_weights(executed[number].operator):
                self._climb(number, index)
        self._descend()
        self.nodes_of: list[list[int]] = [[] for _ in executed]
        for index, number in self._owner.items():
            self.nodes_of[number].append(index)

    def _anchors(self, executed: Sequence[Executed]) -> dict[int, int]:
        """Executed number -> index of the node that its name tells."""
        by_name = {node.name: index for index, node in enumerate(self._nodes) if node.name}
        found = {}
        for number, each in enumerate(executed):
            for name, is_tensor in _readings(each.name):
                index = (self._maker if is_tensor else by_name).get(name)
                if index is not None:
                    found[number] = index
                    break
        return found

    def _climb(self, number: int, index: int) -> None:
        """From a node without weights up to those that hold them, over nodes that are nobody's."""
        if self._nodes[index].op_type in WEIGHTS or self._owner[index] != number:
            return
        seen, waiting, weighted = {index}, [index], False
        while waiting:
            for above in self._above(self._nodes[waiting.pop()]):
                if above not in seen and above not in self._owner:
                    seen.add(above)
                    if self._nodes[above].op_type in WEIGHTS:
                        weighted = True
                    else:
                        waiting.append(above)
        if weighted:
            self._owner.update(dict.fromkeys(seen, number))

    def _descend(self) -> None:
        for index, node in enumerate(self._nodes):
            if index not in self._owner and node.op_type not in WEIGHTS:
                above = [self._owner[i] for i in self._above(node) if i in self._owner]
                if above:
                    self._owner[index] = above[0]

    def _above(self, node: onnx.NodeProto) -> list[int]:
        ordered = [*node.input, *sorted(read_names(node) - set(node.input))]
        return [self._maker[name] for name in ordered if name in self._maker]


def _readings(name: str) -> Iterator[tuple[str, bool]]:
    """What an executed node's name may mean: (name, whether it is a tensor's), the best first."""
    bare = _NUMBER.sub("", name)
    for text in dict.fromkeys((name, bare)):
        yield text, False
        yield text.removeprefix("fused "), False
        tensor = text.removeprefix(_WIDENED)
        if text.endswith("_nchwc"):
            yield tensor.removesuffix("_nchwc"), True
        elif tensor != text:
            yield tensor, True
    yield bare.removesuffix("_quant"), False
