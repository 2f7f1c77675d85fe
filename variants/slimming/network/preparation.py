"""What may be slimmed: checks on an ONNX file, and all its shapes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab.variants.files.dataflow import Flow, read_flow
from trimtab.variants.files.simplify import write_plain
from trimtab.variants.files.writing import write_model
from trimtab.variants.quantisation.suitability import INTEGER_OPERATORS
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

DOMAINS = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""


def make_plain(model: onnx.ModelProto, size: tuple[int, int] | None) -> onnx.ModelProto:
    """A float classifier made plain. Raises ModelError with the reason why it cannot be."""
    import onnx

    _check_source(model)
    shape = _input_shape(model, size)
    with tempfile.TemporaryDirectory(prefix="trimtab-plain-") as folder:
        return onnx.load(str(write_plain(_inlined(model), shape, Path(folder))))


def flow_of(model: onnx.ModelProto) -> Flow:
    """The flow of a model in memory; :class:`trimtab.variants.files.dataflow.NotCuttable` where
    it has none."""
    with tempfile.TemporaryDirectory(prefix="trimtab-plain-") as folder:
        file = Path(folder) / "plain.onnx"
        write_model(model, file)
        return read_flow(file)


def _check_source(model: onnx.ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    nodes = list(model.graph.node)
    for function in model.functions:
        nodes.extend(function.node)
    quantised = sorted({n.op_type for n in nodes if n.op_type in INTEGER_OPERATORS})
    if quantised:
        raise ModelError(
            f"it is quantised already (it has {', '.join(quantised)}); slim the float model and "
            "quantise what comes of it"
        )
    _no_custom([n for n in nodes if (n.domain, n.op_type) not in own])
    nested = sorted({n.op_type for n in nodes for a in n.attribute if a.HasField("g") or a.graphs})
    if nested:
        raise ModelError(f"it has control flow ({', '.join(nested)}); export it without")


def _no_custom(nodes: list[onnx.NodeProto]) -> None:
    custom = sorted({f"{n.domain}.{n.op_type}" for n in nodes if n.domain not in DOMAINS})
    if custom:
        raise ModelError(
            f"it has operators that are not ONNX's own ({', '.join(custom)}); export it with "
            "standard operators"
        )


def _input_shape(model: onnx.ModelProto, size: tuple[int, int] | None) -> tuple[int, ...]:
    """The shape to fix; takes initialisers out of the graph's inputs, where old files name them,
    as they could not be folded there."""
    from onnx import TensorProto

    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    names = [[v.name for v in inputs], [v.name for v in graph.output]]
    if [len(n) for n in names] != [1, 1]:
        raise ModelError(
            f"it needs one image in and one output, but has inputs {names[0]} and outputs "
            f"{names[1]}"
        )
    for value in [*inputs, *graph.output]:
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise ModelError(f"{value.name!r} is not float32; export it in float32")
    del graph.input[:]
    graph.input.extend(inputs)
    dims = graph.input[0].type.tensor_type.shape.dim
    if len(dims) != 4:
        raise ModelError(f"its input has {len(dims)} dimensions, but an image has (1, C, H, W)")
    given = [d.dim_value for d in dims]
    last = given[3] in (1, 3) and given[1] not in (1, 3)
    wanted = [1, 0, *(size or (0, 0))] if not last else [1, *(size or (0, 0)), 0]
    shape = tuple(g or w for g, w in zip(given, wanted, strict=True))
    if not all(shape):
        raise ModelError(
            f"its input is {tuple(g or '?' for g in given)}; say its size (input: size: in the "
            "specification), or export it with fixed channels"
        )
    if shape[0] != 1:
        raise ModelError(f"its input holds {shape[0]} images; export it for one")
    return shape


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import inliner

    return inliner.inline_local_functions(model) if model.functions else model


def infer_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors, which become the model's value_info; in the graph's order."""
    import onnx
    from onnx import TensorProto

    _no_custom(list(model.graph.node))
    del model.graph.value_info[:]
    # What the file says of open sizes would stand in the way of what follows from the image's.
    model.graph.output[0].type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx's errors share no public base class
        raise ModelError(f"its shapes cannot be told ({first_line(error)})") from error
    values = {v.name: v for v in [*graph.input, *graph.output, *graph.value_info]}
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    made = [name for node in graph.node for name in node.output if name]
    for name in [graph.input[0].name, *made]:
        tensor = values[name].type.tensor_type if name in values else None
        known = tensor is not None and tensor.HasField("shape")
        dims = tensor.shape.dim if tensor is not None and known else ()
        shape = tuple(int(d.dim_value) for d in dims if d.HasField("dim_value"))
        if tensor is None or not known or len(shape) != len(dims):
            raise ModelError(
                f"the shape of {name!r} stays unknown; export it for one input size, without "
                "dynamic axes"
            )
        found[name], types[name] = shape, tensor.elem_type
    other = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    wrong = [name for name, kind in types.items() if kind in other]
    if wrong:
        raise ModelError(f"{wrong[0]!r} is not float32; export it in float32")
    ends = {graph.input[0].name, graph.output[0].name}
    model.graph.value_info.extend(values[name] for name in made if name not in ends)
    model.graph.output[0].CopyFrom(graph.output[0])
    return found
