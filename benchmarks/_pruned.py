"""CIFAR ResNets with thinner blocks and earlier ends, made by editing their ONNX files.

The inner channels of every block are pruned by the L1 norm of their filters (Li et al., ICLR
2017), and the second convolution is fitted anew by least squares to what it said before (He et
al., ICCV 2017). An early end is a linear head on the mean of a block's channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from trimtab.variants import fit_heads

Floats = NDArray[np.float32]
_RIDGE = 1e-4


@dataclass(frozen=True)
class Block:
    """Tensor names of a residual block: weights and biases of its convolutions, what lies between
    them, and its output."""

    first: tuple[str, str]
    second: tuple[str, str]
    inside: str
    output: str


def blocks_of(model: onnx.ModelProto) -> list[Block]:
    """The blocks of an exported ResNet: Conv, Relu, Conv, Add, Relu."""
    nodes = list(model.graph.node)
    made_by = {node.output[0]: node for node in nodes}
    found = []
    for node in nodes:
        added = made_by.get(node.input[0]) if node.op_type == "Relu" else None
        if added is None or added.op_type != "Add":
            continue
        second = next(made_by[name] for name in added.input if made_by[name].op_type == "Conv")
        inside = made_by[second.input[0]]
        first = made_by[inside.input[0]]
        (a, b), (c, d) = first.input[1:3], second.input[1:3]
        found.append(Block((a, b), (c, d), second.input[0], node.output[0]))
    return found


class Pruner:
    """Makes variants of one exported ResNet; `tensors` (n, 3, 32, 32) and `labels` (n,) fit."""

    def __init__(self, path: Path, tensors: Floats, labels: NDArray[np.int64]) -> None:
        self._model = onnx.load(str(path))
        self._tensors, self._labels = tensors, labels
        self._blocks = blocks_of(self._model)
        self.ends = [block.output for block in self._blocks]
        self._gram = self._second_moments()

    def _second_moments(self) -> list[NDArray[np.float64]]:
        """Of the patches that each block's second convolution reads, with a constant 1."""
        patches: list[NDArray[np.float64]] = []
        for image in _outputs(self._model, [b.inside for b in self._blocks], self._tensors[:60]):
            for number, array in enumerate(image):
                unfolded = torch.nn.functional.unfold(torch.from_numpy(array), 3, padding=1)[0]
                ones = torch.ones(1, unfolded.shape[1])
                rows = torch.cat([unfolded, ones]).double()
                gram = (rows @ rows.T).numpy()
                if number < len(patches):
                    patches[number] += gram
                else:
                    patches.append(gram)
        return patches

    def write(self, target: Path, pruned: float, end: str | None) -> None:
        """The network without a share `pruned` of its inner channels, which ends behind the
        tensor `end` (None: where it always did)."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        if pruned:
            for block, gram in zip(self._blocks, self._gram, strict=True):
                _prune(block, gram, pruned, weights)
        if end is not None:
            _end_at(model, end)
        del model.graph.initializer[:]
        used = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in weights.items() if name in used
        )
        del model.graph.value_info[:]
        if end is not None:
            _add_head(model, end, self._tensors, self._labels)
        onnx.checker.check_model(model)
        onnx.save(model, str(target))


def _prune(
    block: Block, gram: NDArray[np.float64], share: float, weights: dict[str, NDArray[Any]]
) -> None:
    first, second = weights[block.first[0]], weights[block.second[0]]
    count = max(1, round(len(first) * (1 - share)))
    kept = np.sort(np.argsort(-np.abs(first).sum(axis=(1, 2, 3)), kind="stable")[:count])
    columns = (9 * kept[:, None] + np.arange(9)).ravel()
    rows = np.append(columns, len(gram) - 1)  # the constant stands for the bias
    full = np.column_stack([second.reshape(len(second), -1), weights[block.second[1]]])
    square = gram[np.ix_(rows, rows)]
    square = square + _RIDGE * np.mean(np.diag(square)) * np.eye(len(rows))
    fitted = np.linalg.solve(square, gram[rows] @ full.T.astype(np.float64)).T
    weights[block.first[0]], weights[block.first[1]] = first[kept], weights[block.first[1]][kept]
    shape = (len(second), count, 3, 3)
    weights[block.second[0]] = fitted[:, :-1].reshape(shape).astype(np.float32)
    weights[block.second[1]] = fitted[:, -1].astype(np.float32)


def _end_at(model: onnx.ModelProto, end: str) -> None:
    nodes = list(model.graph.node)
    last = next(number for number, node in enumerate(nodes) if end in node.output)
    del model.graph.node[last + 1 :]


def _add_head(
    model: onnx.ModelProto, end: str, tensors: Floats, labels: NDArray[np.int64]
) -> None:
    """Mean over pixels, and a linear head fitted on it."""
    graph, out = model.graph, model.graph.output[0].name
    graph.node.append(helper.make_node("GlobalAveragePool", [end], ["pooled"]))
    graph.node.append(helper.make_node("Flatten", ["pooled"], ["vector"]))
    vectors = np.concatenate([row[0] for row in _outputs(model, ["vector"], tensors)])
    head = fit_heads(vectors, labels, classes=10)
    graph.initializer.append(numpy_helper.from_array(head.weight, "head.weight"))
    graph.initializer.append(numpy_helper.from_array(head.bias, "head.bias"))
    parts = ["vector", "head.weight", "head.bias"]
    graph.node.append(helper.make_node("Gemm", parts, [out], transB=1))


def _outputs(model: onnx.ModelProto, names: Sequence[str], tensors: Floats) -> Any:
    """Yields, image by image, the arrays of some tensors of a graph."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    del told.graph.output[:]
    told.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(told.SerializeToString())
    image = session.get_inputs()[0].name
    for tensor in tensors:
        yield session.run(None, {image: tensor[None]})
