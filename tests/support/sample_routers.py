"""Small routers and scorers, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_graph(
    path: Path,
    nodes: Sequence[Any],
    reads: tuple[str, Sequence[int | str]],
    writes: tuple[str, Sequence[int | str]],
    **weights: Array,
) -> Path:
    """An ONNX file with one float32 input and output, (name, shape) each."""
    graph = helper.make_graph(
        list(nodes),
        "sample",
        [helper.make_tensor_value_info(reads[0], TensorProto.FLOAT, list(reads[1]))],
        [helper.make_tensor_value_info(writes[0], TensorProto.FLOAT, list(writes[1]))],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="tests")
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def write_linear_router(path: Path, weight: Array, bias: Array) -> Path:
    """scores = weight (stages, n) features + bias (stages,)."""
    stages, count = weight.shape
    node = helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"], transB=1)
    return write_graph(
        path,
        [node],
        ("features", (1, count)),
        ("scores", (1, stages)),
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
    )


def write_pooling_router(path: Path, weight: Array, bias: Array, side: int) -> Path:
    """The same of the mean colours of an image tensor (1, 3, side, side)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["scores"], transB=1),
    ]
    return write_graph(
        path,
        nodes,
        ("features", (1, 3, side, side)),
        ("scores", (1, len(weight))),
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
    )


def write_margin_scorer(path: Path, classes: int) -> Path:
    """score = largest probability - second largest."""
    nodes = [
        helper.make_node("TopK", ["probabilities", "two"], ["top", "places"], axis=1),
        helper.make_node("MatMul", ["top", "signs"], ["margin"]),
        helper.make_node("Reshape", ["margin", "one"], ["score"]),
    ]
    return write_graph(
        path,
        nodes,
        ("probabilities", (1, classes)),
        ("score", (1,)),
        two=np.array([2], np.int64),
        one=np.array([1], np.int64),
        signs=np.array([[1], [-1]], np.float32),
    )
