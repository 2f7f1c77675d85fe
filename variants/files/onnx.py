"""Loading ONNX files and reading what their graphs tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.base import Array, LoadedModel, TensorFacts, first_line
from trimtab.variants.files.doubts import find_doubts, random_operators
from trimtab.variants.files.onnx_input import (
    constant_values,
    inner_normalisation,
    input_quantisation,
    linear,
)
from trimtab.variants.files.watchdog import step
from trimtab_runtime.definitions.plan import Quantisation
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

KEEPS_VALUES = {
    "Cast",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
}
"""Operators behind which an output means the same as before them."""

KINDS = {
    "Conv": "logits",
    "Gemm": "logits",
    "HardSigmoid": "probabilities",
    "LogSoftmax": "logits",
    "MatMul": "logits",
    "Sigmoid": "probabilities",
    "Softmax": "probabilities",
}

FLOAT_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
INTEGER_LAYERS = (
    *("ConvInteger", "MatMulInteger", "MatMulNBits", "QAttention", "QGemm"),
    *("DynamicQuantizeMatMul", "QLinearConv", "QLinearMatMul"),
)
"""Layers with float weights, unless a DequantizeLinear makes these, and with integer ones."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}


#: Weights in files beside are read up to so many bytes; a graph can be looked at without.
_READ_BYTES = 2**31 - 2**26


def read_graph(path: Path) -> onnx.ModelProto:
    """Parse the file: its local functions inlined, its weights read where they lie in files beside
    and fit into memory. Raises ModelError when it is damaged, or such a file is."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import inliner

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"{path.name}: damaged or no ONNX file ({error}); export or copy it again"
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path.name}: holds no ONNX graph; export or copy it again")
    if _external_bytes(model) <= _READ_BYTES:
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelError(
                f"{path.name}: its weights in files beside cannot be read ({first_line(error)})"
            ) from error
    return inliner.inline_local_functions(model) if model.functions else model


def _external_bytes(model: onnx.ModelProto) -> int:
    import onnx

    return sum(
        int(entry.value)
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "length"
    )


def load_onnx(path: Path) -> LoadedModel:
    """Load with onnxruntime, on one thread and without graph optimisations.

    Raises ModelError when the file is damaged, uses operators that onnxruntime does not know, or
    has not exactly one input and one output tensor.
    """
    model = read_graph(path)
    session = load_session(path, optimised=False)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if (len(inputs), len(outputs)) != (1, 1):
        raise ModelError(
            f"{path.name}: a classifier needs one input and one output, but the file has inputs "
            f"{[i.name for i in inputs]} and outputs {[o.name for o in outputs]}; export it again "
            "with the image as the only input and the classes' scores as the only output"
        )
    graph = model.graph
    counts = Counter(node.op_type for node in graph.node)
    return LoadedModel(
        format="onnx",
        input=_tensor(path, inputs[0], input_quantisation(graph, inputs[0].name)),
        output=_tensor(path, outputs[0], _output_quantisation(graph, outputs[0].name)),
        operators=tuple(sorted(counts.items())),
        kind=_kind(graph, outputs[0].name),
        normalisation=lambda channels: inner_normalisation(graph, inputs[0].name, channels),
        doubts=tuple(find_doubts(model)),
        random=tuple(random_operators(model)),
        quantised_layers=_quantised_layers(graph),
        run=lambda tensor: run_session(path, session, inputs[0].name, tensor),
    )


def load_session(path: Path, optimised: bool, name: str | None = None) -> Any:
    """An onnxruntime session of one thread, with the graph as it stands or `optimised`; errors
    call the file `name`. Raises ModelError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    step()
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise ModelError(
            f"{name or path.name}: onnxruntime {onnxruntime.__version__} cannot load it: "
            f"{first_line(error)}"
        ) from error


def run_session(path: Path, session: Any, name: str, tensor: Array) -> Array:
    """The first output for its one input, `name`. Raises ModelError."""
    return np.asarray(run_all(path.name, session, name, tensor)[0])


def run_all(file: str, session: Any, name: str, tensor: Array) -> list[Any]:
    """All outputs for the one input `name` of a session, which errors call `file`. Raises
    ModelError."""
    step()
    try:
        return list(session.run(None, {name: tensor}))
    except Exception as error:  # as above
        raise ModelError(
            f"{file}: onnxruntime cannot run it on an input {tensor.shape}: {first_line(error)}"
        ) from error


def _tensor(path: Path, node: Any, quantisation: Quantisation | None) -> TensorFacts:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise ModelError(
            f"{path.name}: {node.name!r} is of type {node.type}, but a classifier's input and "
            f"output must be one of {', '.join(_DTYPES)}"
        )
    sides = node.shape or ()
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in sides)
    names = tuple(side if isinstance(side, str) else "" for side in sides)
    return TensorFacts(shape or None, dtype, quantisation, names)


def producers(graph: onnx.GraphProto) -> Mapping[str, onnx.NodeProto]:
    """Which node makes a tensor, by the tensor's name."""
    return {name: node for node in graph.node for name in node.output if name}


def _kind(graph: onnx.GraphProto, output: str) -> str | None:
    made_by = producers(graph)
    node = made_by.get(output)
    while node is not None and node.op_type in KEEPS_VALUES:
        node = made_by.get(node.input[0])
    return None if node is None else KINDS.get(node.op_type)


def _quantised_layers(graph: onnx.GraphProto) -> int:
    """Layers whose weights are integers, or come from integers."""
    made_by = producers(graph)
    count = 0
    for node in graph.node:
        if node.op_type in INTEGER_LAYERS:
            count += 1
        elif node.op_type in FLOAT_LAYERS:
            maker = made_by.get(node.input[1])
            while maker is not None and maker.op_type in KEEPS_VALUES | {"Transpose"}:
                if maker.op_type == "DequantizeLinear":
                    count += 1
                    break
                maker = made_by.get(maker.input[0])
    return count


def _output_quantisation(graph: onnx.GraphProto, name: str) -> Quantisation | None:
    node = producers(graph).get(name)
    if node is None or node.op_type != "QuantizeLinear":
        return None
    return linear(node, constant_values(graph))
