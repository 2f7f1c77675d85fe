"""A TFLite file taken apart: each of its operators as a file of its own, so that an engine which
has no profiler can time them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.tflite import open_interpreter
from trimtab.variants.files.tflite_objects import CALLS, packed, unpacked
from trimtab_runtime.errors import ModelError


@dataclass(frozen=True)
class OperatorFile:
    """One operator: `name` is that of the tensor that it makes, `shape` its sides."""

    path: Path
    name: str
    operator: str
    shape: tuple[int, ...]


def write_operator_files(path: Path, folder: Path) -> list[OperatorFile]:
    """Write each operator of a TFLite file, in its order, into `folder`: its weights inside, its
    feature maps as inputs. Whole numbers that steer it (a shape, an axis) are fixed to those of a
    run.

    Raises ModelError where the file is damaged, or has operators that cannot stand alone.
    """
    interpreter = open_interpreter(path, preserve=True)
    operators = interpreter._get_ops_details()
    called = sorted({str(o["op_name"]) for o in operators} & CALLS)
    if called:
        raise ModelError(
            f"{path.name}: its operators cannot be told apart, {', '.join(called)} call(s) others"
        )
    model = unpacked(path)
    steering = _Steering(interpreter)
    found = []
    for number, part in enumerate(model.subgraphs[0].operators):
        target = folder / f"operator{number}.tflite"
        target.write_bytes(_alone(model, part, steering))
        made = model.subgraphs[0].tensors[part.outputs[0]]
        name = made.name.decode() if isinstance(made.name, bytes) else str(made.name)
        shape = tuple(int(side) for side in steering.shape(part.outputs[0]))
        found.append(OperatorFile(target, name, str(operators[number]["op_name"]), shape))
    return found


class _Steering:
    """Tensors of whole numbers, as a run of noise makes them, and shapes."""

    def __init__(self, interpreter: Any) -> None:
        self._details = {int(d["index"]): d for d in interpreter.get_tensor_details()}
        generator = np.random.default_rng(0)
        for wanted in interpreter.get_input_details():
            values = generator.integers(0, 128, wanted["shape"]).astype(wanted["dtype"])
            interpreter.set_tensor(wanted["index"], values)
        interpreter.invoke()
        self._read = interpreter.get_tensor

    def shape(self, index: int) -> Array:
        found: Array = self._details[int(index)]["shape"]
        return found

    def values(self, index: int) -> Array | None:
        """Those of a tensor that steers; None for feature maps."""
        kind = np.dtype(self._details[int(index)]["dtype"])
        steers = kind in (np.int32, np.int64, np.bool_)
        return np.asarray(self._read(int(index))) if steers else None


def _alone(model: Any, operator: Any, steering: _Steering) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    whole = model.subgraphs[0]
    part = schema.ModelT(version=3, description="an operator")
    part.operatorCodes = [model.operatorCodes[operator.opcodeIndex]]
    part.buffers = [schema.BufferT()]
    graph = schema.SubGraphT(tensors=[], operators=[], name="main")
    places: dict[int, int] = {}
    inputs = []
    for index in dict.fromkeys(int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0):
        tensor = schema.TensorT(**vars(whole.tensors[index]))
        tensor.shape, tensor.shapeSignature = list(steering.shape(index)), None
        data = model.buffers[tensor.buffer].data
        is_output = index in operator.outputs
        if data is None and not is_output:
            values = steering.values(index)
            data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
        tensor.buffer = 0
        if data is not None:
            tensor.buffer = len(part.buffers)
            part.buffers.append(schema.BufferT(data=data))
        elif not is_output:
            inputs.append(len(graph.tensors))
        places[index] = len(graph.tensors)
        graph.tensors.append(tensor)
    alone = schema.OperatorT(**vars(operator))
    alone.opcodeIndex = 0
    alone.inputs = [places[int(i)] if i >= 0 else -1 for i in operator.inputs]
    alone.outputs = [places[int(i)] for i in operator.outputs]
    alone.intermediates = None
    graph.operators = [alone]
    graph.inputs, graph.outputs = inputs, list(alone.outputs)
    part.subgraphs = [graph]
    return packed(part)
