"""Loading TFLite files and reading what their graphs tell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files.base import Array, LoadedModel, TensorFacts, first_line
from trimtab.variants.files.watchdog import step
from trimtab_runtime.definitions.plan import Quantisation
from trimtab_runtime.errors import EngineError, ModelError

_KEEPS_VALUES = {"DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE"}
_KINDS = {
    "CONV_2D": "logits",
    "FULLY_CONNECTED": "logits",
    "LOG_SOFTMAX": "logits",
    "LOGISTIC": "probabilities",
    "SOFTMAX": "probabilities",
}


def load_tflite(path: Path) -> LoadedModel:
    """Load with LiteRT, without delegates (a delegate hides the operators that it takes over).

    Raises ModelError when the file is damaged, uses operators that LiteRT does not know, or has
    not exactly one input and one output; EngineError when LiteRT is not installed.
    """
    interpreter = open_interpreter(path)
    try:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        operators = interpreter._get_ops_details()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name}: damaged: a tensor's name is no text") from error
    if (len(inputs), len(outputs)) != (1, 1):
        raise ModelError(
            f"{path.name}: a classifier needs one input and one output, but the file has inputs "
            f"{[i['name'] for i in inputs]} and outputs {[o['name'] for o in outputs]}; convert "
            "it again with the image as the only input and the scores as the only output"
        )
    counts = Counter(str(operator["op_name"]) for operator in operators)
    output = _tensor(path, outputs[0])
    kind = _kind(operators, outputs[0]["index"])
    return LoadedModel(
        format="tflite",
        input=_tensor(path, inputs[0]),
        output=output,
        operators=tuple(sorted(counts.items())),
        kind=kind if kind is not None else _kind_of_scale(output),
        run=lambda tensor: _run(path, interpreter, tensor),
    )


def open_interpreter(path: Path, preserve: bool = False) -> Any:
    """LiteRT without delegates, tensors allocated; `preserve`: those in between can be read after
    a run. Raises ModelError, EngineError."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise EngineError("LiteRT is missing: pip install ai-edge-litert") from None
    try:
        interpreter = Interpreter(
            str(path),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=preserve,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path.name}: LiteRT cannot load it ({first_line(error)}); it may be damaged, or use "
            "custom or Flex operators: convert it again with TFLite's built-in operators only"
        ) from error
    return interpreter


def _run(path: Path, interpreter: Any, tensor: Array) -> Array:
    step()
    try:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path.name}: LiteRT cannot run it on an input {tensor.shape} ({first_line(error)})"
        ) from error
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _tensor(path: Path, details: Any) -> TensorFacts:
    signature = details.get("shape_signature")
    if signature is None or len(signature) != len(details["shape"]):
        signature = details["shape"]
    quantisation = None
    dtype = np.dtype(details["dtype"]).name
    parameters = details["quantization_parameters"]
    if len(parameters["scales"]) > 1:
        raise ModelError(
            f"{path.name}: {details['name']!r} is quantised per channel; inputs and outputs must "
            "be quantised per tensor"
        )
    if len(parameters["scales"]) == 1 and dtype != "float32":
        zero = int(parameters["zero_points"][0])
        quantisation = Quantisation(_short(parameters["scales"][0]), zero)
    shape = tuple(int(size) if size > 0 else None for size in signature)
    return TensorFacts(shape, dtype, quantisation)


def _short(value: Any) -> float:
    """The shortest decimal that names the same float32."""
    return float(str(np.float32(value)))


def _kind(operators: Any, output: int) -> str | None:
    made_by = {int(index): operator for operator in operators for index in operator["outputs"]}
    operator = made_by.get(int(output))
    for _ in operators:  # a damaged file may lead in a circle
        if operator is None or operator["op_name"] not in _KEEPS_VALUES:
            break
        operator = made_by.get(int(operator["inputs"][0]))
    return None if operator is None else _KINDS.get(str(operator["op_name"]))


def _kind_of_scale(output: TensorFacts) -> str | None:
    """TFLite stores probabilities with scale 1/256 and the lowest value as zero point."""
    found, lowest = output.quantisation, {"uint8": 0, "int8": -128}.get(output.dtype)
    if found is None or lowest is None:
        return None
    exact = found.scale == 1 / 256 and found.zero_point == lowest
    return "probabilities" if exact else None
