"""What one inference of a model file amounts to, operator by operator: what predicts its time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.dataflow import (
    WEIGHTS,
    Flow,
    NotCuttable,
    Shape,
    multiply_accumulates,
    read_flow,
    tensor_shapes,
)
from trimtab.variants.files.graphs import constant_tensors
from trimtab.variants.files.tflite import open_interpreter
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

#: Kinds of operators that engines carry out by kernels of one family.
KINDS = ("conv", "pointwise", "depthwise", "dense", "sum", "activation", "pool", "other")

_KIND_OF = {
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm", "FULLY_CONNECTED", "BATCH_MATMUL"), "dense"),
    **dict.fromkeys(("MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul"), "dense"),
    **dict.fromkeys(("Add", "Mul", "Sub", "Div", "Sum", "ADD", "MUL", "SUB", "DIV"), "sum"),
    **dict.fromkeys(
        ("Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "LeakyRelu", "Softmax"),
        "activation",
    ),
    **dict.fromkeys(("RELU", "RELU6", "LOGISTIC", "HARD_SWISH", "TANH", "SOFTMAX"), "activation"),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"), "pool"),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"), "pool"),
}
#: Folded into their neighbours, or only another view of the same data.
_FREE = {
    *("BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Identity", "Cast", "Dropout"),
    *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Shape", "Constant"),
    *("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "DELEGATE"),
}


@dataclass(frozen=True)
class OperatorWork:
    """One operator of a file, on one image.

    `kind` is one of `KINDS`. `read`, `written` and `weights` count elements (of activations, and
    of constants); `element_bytes` is the width in which its factors are multiplied, and `unsigned`
    says that a TFLite file holds these bytes without a sign, for which LiteRT has other kernels.
    """

    kind: str
    multiply_accumulates: int
    read: int
    written: int
    weights: int
    element_bytes: int
    unsigned: bool = False


def operator_work(
    path: Path, format: str, size: tuple[int, int] | None = None
) -> tuple[OperatorWork, ...]:
    """The operators that cost time, in the order of the file, which is of a `format` ('onnx' or
    'tflite'). `size` (height, width) is for a file that leaves it open.

    Operators that engines fold into others (batch normalisation, quantisation) are left out, and
    what a graph does not tell about shapes counts as nothing. Raises ModelError when the file
    cannot be read, or its shapes cannot be told at all.
    """
    if format == "tflite":
        return tuple(_of_tflite(path))
    try:
        flow = read_flow(path)
        return tuple(_of_onnx(flow, tensor_shapes(flow, size)))
    except NotCuttable as error:
        raise ModelError(f"{path.name}: its work cannot be told: {error}") from error


def _of_onnx(flow: Flow, shapes: Mapping[str, tuple[int, Shape]]) -> Iterator[OperatorWork]:
    made_by = {name: node for node in flow.model.graph.node for name in node.output}
    # Weights may come by way of a DequantizeLinear or an Identity.
    constants = constant_tensors(flow.model.graph)

    def elements(names: Iterable[str]) -> int:
        return sum(_product(shapes.get(name, (0, (None,)))[1]) for name in names if name)

    for node in flow.nodes:
        if node.op_type in _FREE:
            continue
        weights = [name for name in node.input if name in constants]
        kind = _KIND_OF.get(node.op_type, "other")
        if "Conv" in node.op_type and node.op_type in WEIGHTS:
            kernel = shapes.get(node.input[WEIGHTS[node.op_type]], (0, (None,)))[1]
            kind = _conv_kind(kernel[1:2] == (1,) and _group(node) > 1, kernel[2:])
        maker = made_by.get(node.input[0]) if node.input else None
        integer = node.op_type.startswith(("QLinear", "QGemm")) or node.op_type.endswith("Integer")
        quantised = integer or (maker is not None and maker.op_type == "DequantizeLinear")
        yield OperatorWork(
            kind=kind,
            multiply_accumulates=multiply_accumulates(node, shapes) or 0,
            read=elements(name for name in node.input if name not in weights),
            written=elements(node.output),
            weights=elements(weights),
            element_bytes=1 if quantised else 4,
        )


def _of_tflite(path: Path) -> Iterator[OperatorWork]:
    interpreter = open_interpreter(path)
    tensors = {int(found["index"]): found for found in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    made = {int(index) for operator in operators for index in operator["outputs"]}
    made.add(int(interpreter.get_input_details()[0]["index"]))

    def elements(indices: Iterable[int]) -> int:
        return sum(_product(tuple(map(int, tensors[index]["shape"]))) for index in indices)

    for operator in operators:
        name = str(operator["op_name"])
        if name in _FREE:
            continue
        inputs = [int(index) for index in operator["inputs"] if index >= 0]
        outputs = [int(index) for index in operator["outputs"]]
        weights = [index for index in inputs if index not in made]
        written, kind, work = elements(outputs), _KIND_OF.get(name, "other"), 0
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            shape = tuple(map(int, tensors[inputs[1]]["shape"]))
            depthwise = name == "DEPTHWISE_CONV_2D"
            work = written * _product(shape[1:3] if depthwise else shape[1:])
            kind = kind if name == "FULLY_CONNECTED" else _conv_kind(depthwise, shape[1:3])
        held = _held(tensors, inputs + outputs)
        read = elements(index for index in inputs if index not in weights)
        yield OperatorWork(
            kind, work, read, written, elements(weights), held.itemsize, held == np.uint8
        )


def _held(tensors: Mapping[int, Any], indices: Iterable[int]) -> np.dtype[Any]:
    """What the first tensor is made of; float32 for an operator without any."""
    return next((np.dtype(tensors[index]["dtype"]) for index in indices), np.dtype(np.float32))


def _conv_kind(depthwise: bool, kernel: Shape) -> str:
    if depthwise:
        return "depthwise"
    return "pointwise" if all(side == 1 for side in kernel) else "conv"


def _group(node: onnx.NodeProto) -> int:
    return next((int(found.i) for found in node.attribute if found.name == "group"), 1)


def _product(shape: Shape) -> int:
    """Elements of a shape; none where it is not known."""
    known = [size for size in shape if size is not None]
    return math.prod(known) if len(known) == len(shape) else 0
