"""Cutting an ONNX model at taps, one file per segment, without changing an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab.variants.files.dataflow import Flow, NotCuttable, needed_nodes, read_flow
from trimtab.variants.files.graphs import free_name, read_names
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.segments.heads import Head
from trimtab.variants.segments.layout import block_input, blocked_tensors
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

VECTOR, LOGITS = "vector", "logits"


def cut_segments(
    path: Path,
    taps: Sequence[str],
    folder: Path,
    heads: Mapping[str, Head] | None = None,
    grids: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write segment_0.onnx ... segment_N.onnx (N taps) into `folder`; the same bytes every time.

    A segment but the last gives, in this order: the tensor it carries on (named as in the graph),
    `vector` float32 (1, channels), the mean of it over space (dequantised in quantised graphs),
    and, where `heads` has its tap, `logits` float32 (1, classes). Where `grids` has the tap,
    `vector` is finer, (1, channels * grid * grid), as heads on a grid read it. Where the graph
    itself uses one of these names, underscores are appended. The next segment takes the carried
    tensor alone; the last one's output is the model's own.

    Raises ModelError when a tap is none of the tensors that alone carry everything, when taps are
    not in network order, when a head does not fit its tap, and when a file cannot be written.
    """
    path, heads, grids = Path(path), heads or {}, grids or {}
    try:
        flow = read_flow(path)
    except NotCuttable as reason:
        raise ModelError(f"{path.name}: cannot be cut: {reason}") from None
    types, blocked = _value_types(path, flow), blocked_tensors(flow)
    _check(path, flow, types, taps, heads)
    ends = [flow.image, *taps, flow.output]
    written = []
    for number, (start, end) in enumerate(pairwise(ends)):
        model = _extract(flow, types, start, end)
        if start in blocked:
            block_input(model)
        if end != flow.output:
            _add_vector(path, model, flow, end, heads.get(end), grids.get(end, 1))
        strip_notes(model)
        out = Path(folder) / f"segment_{number}.onnx"
        _checked(path, model, out.name)
        write_model(model, out)
        written.append(out)
    return written


def read_head(path: Path) -> Head:
    """The head in a segment that :func:`cut_segments` wrote. Raises ModelError where it has
    none."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    outputs = {output.name for output in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in reversed(graph.node):
        if node.op_type == "Gemm" and node.output[0] in outputs:
            weight, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
            return Head(weight, bias)
    raise ModelError(f"{path.name}: this segment has no head")


def _check(
    path: Path,
    flow: Flow,
    types: Mapping[str, onnx.ValueInfoProto],
    taps: Sequence[str],
    heads: Mapping[str, Head],
) -> None:
    places = []
    for tap in taps:
        if tap not in flow.carriers:
            raise ModelError(
                f"{path.name}: cannot be cut at {tap!r}: it is no tensor that alone carries "
                "everything; take taps that find_taps gives"
            )
        if tap not in types:
            raise ModelError(f"{path.name}: cannot be cut at {tap!r}: its type cannot be told")
        places.append(flow.carriers[tap])
    if any(a >= b for a, b in pairwise(places)):
        raise ModelError(f"{path.name}: taps must be in network order, got {list(taps)}")
    unknown = sorted(set(heads) - set(taps))
    if unknown:
        raise ModelError(f"{path.name}: heads for {unknown}, but the taps are {list(taps)}")


def _value_types(path: Path, flow: Flow) -> dict[str, onnx.ValueInfoProto]:
    """What is known of every tensor, open sizes left open."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(flow.model, data_prop=True).graph
    except Exception as error:  # onnx's errors share no public base class
        raise ModelError(
            f"{path.name}: cannot be cut: its shapes cannot be told ({first_line(error)})"
        ) from error
    return {v.name: v for v in [*graph.value_info, *graph.output, *graph.input]}


def _extract(
    flow: Flow, types: Mapping[str, onnx.ValueInfoProto], start: str, end: str
) -> onnx.ModelProto:
    """The model from tensor `start` to tensor `end`, with the constants it uses."""
    import onnx

    source = flow.model.graph
    nodes = needed_nodes(source, [end], [start])
    read = {name for node in nodes for name in read_names(node)}
    made = {name for node in nodes for name in node.output}
    model = onnx.ModelProto()
    model.ir_version = flow.model.ir_version
    model.producer_name = flow.model.producer_name
    model.opset_import.extend(flow.model.opset_import)
    graph = model.graph
    graph.name = source.name
    graph.node.extend(nodes)
    graph.initializer.extend(t for t in source.initializer if t.name in read)
    graph.sparse_initializer.extend(t for t in source.sparse_initializer if t.values.name in read)
    graph.input.append(types[start])
    graph.output.append(types[end])
    graph.value_info.extend(types[n] for n in sorted(made - {end}) if n in types)
    return model


def _add_vector(
    path: Path, model: onnx.ModelProto, flow: Flow, tap: str, head: Head | None, grid: int
) -> None:
    """Append the pooled vector of `tap`, and the head's logits, as outputs."""
    from onnx import TensorProto, helper

    graph = model.graph
    taken = {name for node in graph.node for name in (*read_names(node), *node.output)}
    value = graph.output[0].type.tensor_type
    channels = value.shape.dim[1].dim_value if len(value.shape.dim) == 4 else 0
    if not channels:
        raise ModelError(f"{path.name}: {tap!r} is no feature map (1, C, H, W) of known width")
    batch = value.shape.dim[0]
    rows: int | str | None = batch.dim_value or batch.dim_param or None
    vector = free_name(VECTOR, taken)
    real, pooled, flat = (
        free_name(f"{vector}_{part}", taken) for part in ("real", "pooled", "flat")
    )
    current = tap
    if value.elem_type in (TensorProto.UINT8, TensorProto.INT8):
        maker = flow.nodes[flow.carriers[tap]]
        if maker.op_type != "QuantizeLinear":
            raise ModelError(f"{path.name}: {tap!r} is quantised by no QuantizeLinear")
        back = helper.make_node("DequantizeLinear", [tap, *maker.input[1:]], [real])
        graph.node.append(back)
        current = real
    narrow = value.elem_type in (TensorProto.FLOAT16, TensorProto.DOUBLE)

    def pool(name: str, cells: int, pooled: str, flat: str) -> None:
        last = flat if narrow else name
        graph.node.append(_pooling(path, tap, value, cells, current, pooled))
        graph.node.append(helper.make_node("Flatten", [pooled], [last]))
        if narrow:
            graph.node.append(helper.make_node("Cast", [last], [name], to=TensorProto.FLOAT))

    pool(vector, grid, pooled, flat)
    width = channels * grid * grid
    graph.output.append(helper.make_tensor_value_info(vector, TensorProto.FLOAT, [rows, width]))
    if head is None:
        return
    cells, features = math.isqrt(head.channels // channels) or 1, vector
    if cells != grid:
        features = free_name(f"{vector}_grid", taken)
        pool(features, cells, *(free_name(f"{features}_{p}", taken) for p in ("pooled", "flat")))
    _add_head(path, model, features, tap, head, taken, (rows, channels * cells * cells))


def _pooling(
    path: Path,
    tap: str,
    value: onnx.TypeProto.Tensor,
    cells: int,
    source: str,
    target: str,
) -> onnx.NodeProto:
    """The means of a map's cells, `cells` in each direction."""
    from onnx import helper

    if cells <= 1:
        return helper.make_node("GlobalAveragePool", [source], [target])
    sides = [dim.dim_value for dim in value.shape.dim[2:]]
    if not all(sides) or any(side % cells for side in sides):
        raise ModelError(
            f"{path.name}: {tap!r} is {sides} pixels, which {cells} cells in each direction do "
            "not fit; take the grid that find_taps gives"
        )
    kernel = [side // cells for side in sides]
    return helper.make_node("AveragePool", [source], [target], kernel_shape=kernel, strides=kernel)


def _add_head(
    path: Path,
    model: onnx.ModelProto,
    vector: str,
    tap: str,
    head: Head,
    taken: set[str],
    shape: tuple[int | str | None, int],
) -> None:
    from onnx import TensorProto, helper, numpy_helper

    rows, channels = shape
    if head.channels != channels:
        raise ModelError(
            f"{path.name}: the head at {tap!r} takes {head.channels} channels, the tap has "
            f"{channels}; fit it on this tap's vectors"
        )
    logits = free_name(LOGITS, taken)
    weight, bias = free_name(f"{logits}_weight", taken), free_name(f"{logits}_bias", taken)
    model.graph.initializer.append(numpy_helper.from_array(head.weight, weight))
    model.graph.initializer.append(numpy_helper.from_array(head.bias, bias))
    model.graph.node.append(helper.make_node("Gemm", [vector, weight, bias], [logits], transB=1))
    classes = len(head.bias)
    model.graph.output.append(
        helper.make_tensor_value_info(logits, TensorProto.FLOAT, [rows, classes])
    )


def _checked(path: Path, model: onnx.ModelProto, name: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        if "No Op registered" in str(error) or "opset import" in str(error):
            return  # onnxruntime's own operators, which it checks itself
        raise ModelError(
            f"{path.name}: {name} would be no valid model ({first_line(error)})"
        ) from error
