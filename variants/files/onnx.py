"""Loading ONNX files and reading what their graphs tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.base import Array, LoadedModel, TensorFacts, first_line
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

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}


def read_graph(path: Path) -> onnx.ModelProto:
    """Parse the file. Raises ModelError when it is damaged or keeps its weights elsewhere."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"{path.name}: damaged or no ONNX file ({error}); export or copy it again"
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path.name}: holds no ONNX graph; export or copy it again")
    _no_external_data(path, model)
    return model


def _no_external_data(path: Path, model: onnx.ModelProto) -> None:
    import onnx

    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            files = [entry.value for entry in tensor.external_data if entry.key == "location"]
            raise ModelError(
                f"{path.name}: keeps weights in another file ({', '.join(files)}); a "
                "member must be one file: onnx.save(onnx.load(PATH), NEW_PATH)"
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
        input=_tensor(path, inputs[0], _input_quantisation(graph, inputs[0].name)),
        output=_tensor(path, outputs[0], _output_quantisation(graph, outputs[0].name)),
        operators=tuple(sorted(counts.items())),
        kind=_kind(graph, outputs[0].name),
        run=lambda tensor: run_session(path, session, inputs[0].name, tensor),
    )


def load_session(path: Path, optimised: bool) -> Any:
    """An onnxruntime session of one thread, with the graph as it stands or `optimised`. Raises
    ModelError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise ModelError(
            f"{path.name}: onnxruntime cannot load it ({first_line(error)}); it may be damaged, "
            "or use custom operators or a newer opset than the installed onnxruntime knows"
        ) from error


def run_session(path: Path, session: Any, name: str, tensor: Array) -> Array:
    """The first output for its one input, `name`. Raises ModelError."""
    try:
        raw = session.run(None, {name: tensor})[0]
    except Exception as error:  # as above
        raise ModelError(
            f"{path.name}: onnxruntime cannot run it on an input {tensor.shape} "
            f"({first_line(error)})"
        ) from error
    return np.asarray(raw)


def _tensor(path: Path, node: Any, quantisation: Quantisation | None) -> TensorFacts:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise ModelError(
            f"{path.name}: {node.name!r} is of type {node.type}, but a classifier's input and "
            f"output must be one of {', '.join(_DTYPES)}"
        )
    shape = None
    if node.shape is not None:
        shape = tuple(d if isinstance(d, int) and d > 0 else None for d in node.shape)
    return TensorFacts(shape or None, dtype, quantisation)


def producers(graph: onnx.GraphProto) -> Mapping[str, onnx.NodeProto]:
    """Which node makes a tensor, by the tensor's name."""
    return {name: node for node in graph.node for name in node.output if name}


def _kind(graph: onnx.GraphProto, output: str) -> str | None:
    made_by = producers(graph)
    node = made_by.get(output)
    while node is not None and node.op_type in KEEPS_VALUES:
        node = made_by.get(node.input[0])
    return None if node is None else KINDS.get(node.op_type)


def _input_quantisation(graph: onnx.GraphProto, name: str) -> Quantisation | None:
    readers = [node for node in graph.node if name in node.input]
    if len(readers) != 1 or readers[0].op_type != "DequantizeLinear":
        return None
    return _linear(graph, readers[0])


def _output_quantisation(graph: onnx.GraphProto, name: str) -> Quantisation | None:
    node = producers(graph).get(name)
    if node is None or node.op_type != "QuantizeLinear":
        return None
    return _linear(graph, node)


def _linear(graph: onnx.GraphProto, node: onnx.NodeProto) -> Quantisation | None:
    """Scale and zero point of a (De)QuantizeLinear with constant, per-tensor parameters."""
    from onnx import numpy_helper

    constants = {t.name: t for t in graph.initializer}
    if any(name and name not in constants for name in node.input[1:]):
        return None
    values = [numpy_helper.to_array(constants[name]) for name in node.input[1:] if name]
    if not values or any(value.size != 1 for value in values):
        return None
    zero = int(values[1].reshape(-1)[0]) if len(values) > 1 else 0
    return Quantisation(float(values[0].reshape(-1)[0]), zero)
