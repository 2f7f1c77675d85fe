"""ONNX models run, and learned, by torch.

Importing this imports torch: import it inside functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from trimtab.variants.files.graphs import free_name
from trimtab.variants.slimming.torch_module.node import Function, Node, Reader
from trimtab.variants.slimming.torch_module.operators import OPERATORS, make_function
from trimtab_runtime.errors import ModelError


class OnnxModule(nn.Module):
    """An ONNX model with one input and one output as a torch module.

    ``forward`` takes float32 (n, ...) though the file says one image, and gives (n, ...). Conv is
    an nn.Conv2d, Gemm and MatMul with constant matrices nn.Linear, BatchNormalization an
    nn.BatchNorm2d whose statistics stay fixed; other float constants of more than one number are
    parameters too, single numbers (bounds, factors, exponents) stay as they are. Constants that
    several nodes share are learned apart. `model` itself is not changed.

    Raises ModelError when the model has an operator that cannot be run, or one that mixes images.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self._model = _own_copy(model)
        graph = self._model.graph
        arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        shapes = _shapes(self._model)
        self.steps: list[Step] = []
        self._where: dict[str, tuple[int, Reader]] = {}  # weight -> its step, and how to read it
        self.layers = nn.ModuleDict()
        self.constants = nn.ParameterDict()
        for number, proto in enumerate(graph.node):
            node = Node(proto, arrays, shapes)
            function = make_function(node)
            self._where.update({n: (number, reader) for n, reader in node.readers.items()})
            self.steps.append(Step(node, None if isinstance(function, nn.Module) else function))
            if isinstance(function, nn.Module):
                self.layers[str(number)] = function
            for name in self.steps[-1].inputs:
                if name in arrays:
                    self._keep(name, arrays[name])
        self._last_use = {n: i for i, step in enumerate(self.steps) for n in step.inputs if n}
        self.input, self.output = graph.input[0].name, graph.output[0].name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 (n, ...) of the output for float32 (n, ...) of the input."""
        (made,) = self.trace(x, [self.output])
        return made

    def trace(self, x: torch.Tensor, names: Sequence[str]) -> list[torch.Tensor]:
        """What :meth:`forward` makes at these tensors on its way, (n, ...) each."""
        found = {self.input: x}
        for number, step in enumerate(self.steps):
            arguments = [self._value(name, found) for name in step.inputs]
            run: Any = self.layers[str(number)] if step.function is None else step.function
            found[step.output] = run(*arguments)
            for name in set(step.inputs) & found.keys() - set(names):
                if self._last_use[name] == number:
                    del found[name]
        return [found[name] for name in names]

    def learned_names(self) -> dict[str, nn.Parameter]:
        """The parameters by the name of the initialiser that they were made of."""
        found = self._named_constants()
        for name, (step, reader) in self._where.items():
            layer = self.layers[str(step)]
            value = reader(layer)
            for parameter in layer.parameters():
                if parameter is value or parameter is value._base:
                    found[name] = parameter
        return found

    def to_onnx(self) -> onnx.ModelProto:
        """The same graph with the present weights, whose shapes pruning may have changed."""
        values: dict[str, torch.Tensor] = dict(self._named_constants())
        for name, (step, reader) in self._where.items():
            values[name] = reader(self.layers[str(step)])
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        reshaped = False
        for tensor in model.graph.initializer:
            if tensor.name in values:
                array = values[tensor.name].detach().cpu().numpy().astype(np.float32)
                reshaped = reshaped or array.shape != tuple(tensor.dims)
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
        if reshaped:
            self._fit_shapes(model)
        return model

    def _keep(self, name: str, array: np.ndarray[Any, Any]) -> None:
        key = _key(name)
        value = torch.tensor(array)
        if array.dtype == np.float32 and array.size > 1:
            self.constants[key] = nn.Parameter(value)
        elif not hasattr(self, key):
            self.register_buffer(key, value, persistent=False)

    def _value(self, name: str, found: dict[str, torch.Tensor]) -> torch.Tensor | None:
        if not name or name in found:
            return found.get(name)
        key = _key(name)
        value: torch.Tensor = self.constants[key] if key in self.constants else getattr(self, key)
        return value

    def _named_constants(self) -> dict[str, nn.Parameter]:
        names = [t.name for t in self._model.graph.initializer]
        return {n: self.constants[_key(n)] for n in names if _key(n) in self.constants}

    def _fit_shapes(self, model: onnx.ModelProto) -> None:
        """What the graph says of channels, said anew."""
        graph = model.graph
        graph.ClearField("value_info")
        graph.output[0].type.tensor_type.ClearField("shape")
        taken = {t.name for t in graph.initializer}
        for number, node in enumerate(graph.node):
            layers = self.layers[str(number)].modules() if str(number) in self.layers else ()
            for conv in (m for m in layers if isinstance(m, nn.Conv2d)):
                for attribute in node.attribute:
                    if attribute.name == "group":
                        attribute.i = conv.groups
            if node.op_type == "Reshape" and len(self.steps[number].made) == 2:
                name = free_name(f"{node.output[0]}_shape", taken)
                taken.add(name)
                graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), name))
                node.input[1] = name
        used = {name for node in graph.node for name in node.input}
        kept = [t for t in graph.initializer if t.name in used]
        graph.ClearField("initializer")
        graph.initializer.extend(kept)
        model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))


class Step:
    """What forward needs of a node.

    `inputs` are the tensors passed to its `function`, None where that is a layer; `output` is
    what it makes, of shape `made` in the file; `kind` is the operator.
    """

    def __init__(self, node: Node, function: Function | None) -> None:
        self.function = function
        names = [str(name) for name in node.proto.input]
        self.kind = str(node.proto.op_type)
        self.inputs = [n for i, n in enumerate(names) if i not in node.read_inputs]
        self.output = str(node.proto.output[0])
        self.made = node.shapes.get(self.output, ())


def unsupported(model: onnx.ModelProto) -> str | None:
    """Why a model cannot be run and learned here; None where it can."""
    ops = Counter((n.domain, n.op_type) for n in model.graph.node)
    known = {("", name) for name in [*OPERATORS, "Constant"]}
    unknown = sorted(f"{d}.{o}".lstrip(".") for d, o in ops if (d, o) not in known)
    if unknown:
        return f"it has operators that torch does not run here: {', '.join(unknown)}"
    try:
        OnnxModule(model)
    except ModelError as error:
        return str(error)
    return None


def _key(name: str) -> str:
    """A name that torch takes for a parameter or buffer: without dots."""
    return "c_" + name.replace("%", "%25").replace(".", "%2e")


def _own_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with Constant nodes as initialisers, and weights that several nodes share apart."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ModelError("a model needs one input and one output to be learned")
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        tensor = _constant(node)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
    tensors = {t.name: t for t in graph.initializer}
    taken = {*tensors, *(name for node in graph.node for name in node.output)}
    used: set[str] = set()
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in tensors or tensors[name].data_type != onnx.TensorProto.FLOAT:
                continue
            tensor = tensors[name]
            if name in used and np.prod(tensor.dims) > 1:
                node.input[index] = free_name(f"{name}_own", taken)
                taken.add(node.input[index])
                graph.initializer.add().CopyFrom(tensor)
                graph.initializer[-1].name = node.input[index]
            used.add(name)
    return copy


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    value = onnx.helper.get_attribute_value(node.attribute[0])
    if node.attribute[0].name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        return tensor
    kind = np.float32 if "float" in node.attribute[0].name else np.int64
    return numpy_helper.from_array(np.array(value, kind))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            found[value.name] = tuple(d.dim_value for d in dims)
    return found
