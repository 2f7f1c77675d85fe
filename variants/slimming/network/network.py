"""A network made plain, its regions, and other blocks in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab.variants.files.dataflow import Flow, NotCuttable, needed_nodes
from trimtab.variants.files.graphs import free_name, read_names
from trimtab.variants.files.onnx import read_graph
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.slimming.network.preparation import flow_of, infer_shapes, make_plain
from trimtab.variants.slimming.network.splicing import (
    INPUT,
    OUTPUT,
    block_shapes,
    insert_block,
    opset,
    rename,
)
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Network:
    """A float classifier made plain.

    Its input has a fixed shape (1, C, H, W), constants are folded, BatchNormalization is folded
    into the convolution before it, every shape is known, and every node lies on a way from the
    image to the output. `shapes` has every tensor, initialisers included; `makers` the node that
    makes a tensor; `readers` the nodes that read it (the graph's output is read outside as well);
    `weights` the initialisers by name.
    """

    model: onnx.ModelProto
    flow: Flow
    shapes: Mapping[str, tuple[int, ...]]
    makers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, tuple[onnx.NodeProto, ...]]
    weights: Mapping[str, onnx.TensorProto]

    @property
    def image(self) -> str:
        """Name of the input tensor."""
        return self.flow.image

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self.flow.output

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return opset(self.model)


def read_network(
    path: Path, size: tuple[int, int] | None = None, name: str | None = None
) -> Network:
    """Read a float ONNX classifier and make it plain.

    `size` (height, width) is for files that leave it open; errors call the file `name`. The same
    file gives the same bytes on the same version of onnxruntime.

    Raises ModelError, saying why, when the file is damaged, quantised, not float32, has not one
    input and one output, custom operators, control flow, or shapes that stay unknown.
    """
    path = Path(path)
    model = read_graph(path)
    try:
        return plain_network(make_plain(model, size))
    except (NotCuttable, ModelError) as reason:
        raise ModelError(f"{name or path.name}: cannot be slimmed: {reason}") from reason


def plain_network(model: onnx.ModelProto) -> Network:
    """What :func:`read_network` tells of a model that is plain already, such as one that
    :func:`replace` made. `model` stays as it is.

    Raises ModelError when a shape is not known or a node leads nowhere.
    """
    import onnx

    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    strip_notes(plain)
    used = {node.domain for node in plain.graph.node} | {""}
    imports = [o for o in plain.opset_import if o.domain in used]
    del plain.opset_import[:]
    plain.opset_import.extend(imports)
    shapes = infer_shapes(plain)
    flow = flow_of(plain)
    graph = flow.model.graph
    if len(flow.nodes) < len(graph.node):
        alive = {node.output[0] for node in flow.nodes}
        dead = sorted({n.op_type for n in graph.node if n.output[0] not in alive})
        raise ModelError(f"its {', '.join(dead)} cannot be folded into constants")
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in sorted(read_names(node)):
            readers.setdefault(name, []).append(node)
    return Network(
        flow.model,
        flow,
        shapes,
        {name: node for node in graph.node for name in node.output if name},
        {name: tuple(nodes) for name, nodes in readers.items()},
        {tensor.name: tensor for tensor in graph.initializer},
    )


@dataclass(frozen=True)
class Region:
    """The part of a network between two tensors, named as in the graph."""

    start: str
    end: str


def region_nodes(network: Network, region: Region) -> tuple[onnx.NodeProto, ...]:
    """The nodes of a region in the graph's order.

    Raises ModelError when no way leads from `start` to `end`, when something else than `start`
    and constants enters, and when a tensor inside other than `end` is read outside or is the
    graph's output.
    """
    said = f"no region from {region.start!r} to {region.end!r}"
    if region.start != network.image and region.start not in network.makers:
        raise ModelError(f"{said}: the first is no tensor that the network computes")
    if region.end not in network.makers or region.start == region.end:
        raise ModelError(f"{said}: the second is no tensor that follows from the first")
    needed = needed_nodes(network.model.graph, [region.end], [region.start])
    inside, nodes = {region.start}, []
    for node in needed:
        if not inside.isdisjoint(read_names(node)):
            inside.update(name for name in node.output if name)
            nodes.append(node)
    if region.end not in inside:
        raise ModelError(f"{said}: no way leads there")
    entering = {n for node in nodes for n in read_names(node)} - inside - network.weights.keys()
    if entering:
        raise ModelError(f"{said}: {', '.join(sorted(entering))} enter as well")
    inner = inside - {region.start, region.end}
    outside = {id_of(n) for name in inner for n in network.readers.get(name, ())}
    leaving = outside - {id_of(node) for node in nodes}
    if leaving or network.output in inner:
        read = sorted(leaving) or [network.output]
        raise ModelError(f"{said}: what it makes inside is read outside (by {', '.join(read)})")
    return tuple(nodes)


def id_of(node: onnx.NodeProto) -> str:
    """What tells a node apart in its graph: the first tensor it makes."""
    return str(next(name for name in node.output if name))


def is_region(network: Network, region: Region) -> bool:
    """Whether :func:`region_nodes` finds nodes there."""
    try:
        return bool(region_nodes(network, region))
    except ModelError:
        return False


def overlaps(network: Network, one: Region, other: Region) -> bool:
    """Whether two regions share a node; then only one of them can be replaced. Raises ModelError
    where one is no region."""
    ids = [{id_of(node) for node in region_nodes(network, r)} for r in (one, other)]
    return not ids[0].isdisjoint(ids[1])


def write_network(model: onnx.ModelProto, out: Path) -> None:
    """Write a model that :func:`replace` or learning made, whole or not at all; equal models give
    equal bytes.

    Raises ModelError when it breaks ONNX's rules or cannot be written.
    """
    from onnx import checker

    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # onnx's errors share no public base class
        raise ModelError(f"{out.name}: no sound network ({first_line(error)})") from error
    write_model(model, Path(out))


def extract(network: Network, region: Region) -> onnx.ModelProto:
    """The region as a model of its own, with input `input` and output `output`.

    Other names stay, but for underscores appended where they are these two. Raises ModelError
    where it is no region.
    """
    region_nodes(network, region)
    return between(network, region.start, region.end)


def between(
    network: Network, start: str, end: str, names: tuple[str, str] = (INPUT, OUTPUT)
) -> onnx.ModelProto:
    """The model that makes tensor `end` of tensor `start`, which `names` are given to; what it
    makes inside may be read elsewhere too.

    Raises ModelError where `end` does not follow from `start` alone.
    """
    import onnx

    source = network.model
    nodes = needed_nodes(source.graph, [end], [start])
    used = {name for node in nodes for name in (*read_names(node), *node.output) if name}
    if start == end or start not in used or (network.image in used and start != network.image):
        raise ModelError(f"{end!r} does not follow from {start!r} alone")
    renamed = {n: free_name(f"{n}_", used) for n in sorted(used & {*names} - {start, end})}
    renamed |= dict(zip((start, end), names, strict=True))
    model = onnx.ModelProto(ir_version=source.ir_version, producer_name=source.producer_name)
    model.opset_import.extend(source.opset_import)
    graph = model.graph
    graph.name = "region"
    graph.node.extend(nodes)
    graph.initializer.extend(t for t in source.graph.initializer if t.name in used)
    graph.value_info.extend(v for v in source.graph.value_info if v.name in used - {start, end})
    rename(graph, renamed)
    for values, name, tensor in zip((graph.input, graph.output), names, (start, end), strict=True):
        shape = network.shapes[tensor]
        values.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return model


def replace(
    network: Network, replaced: Sequence[tuple[Region, onnx.ModelProto]]
) -> onnx.ModelProto:
    """The network with blocks in the place of regions; everything else keeps its name.

    Regions must not overlap, but one may begin where another ends. Names inside a block become
    `END/name`, END being the end of its region. The same arguments give the same bytes, and a
    region's own extract in its place gives the same answers.

    Raises ModelError where a region is none, regions overlap, or a block's opset or the shapes of
    its input and output are not those of its region.
    """
    import onnx

    dropped: dict[str, Region] = {}
    blocks: dict[str, tuple[Region, onnx.ModelProto]] = {}
    for region, block in replaced:
        nodes = region_nodes(network, region)
        _check_fit(network, region, block)
        for node in nodes:
            other = dropped.setdefault(id_of(node), region)
            if other is not region:
                raise ModelError(
                    f"regions overlap: {other.start!r} to {other.end!r} and {region.start!r} to "
                    f"{region.end!r}; replace one of them"
                )
        blocks[id_of(network.makers[region.end])] = (region, block)
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    graph = model.graph
    for field in ("node", "initializer", "value_info"):
        graph.ClearField(field)
    taken = set(network.shapes)
    for node in network.model.graph.node:
        if id_of(node) in blocks:
            region, block = blocks[id_of(node)]
            insert_block(graph, block, region.start, region.end, taken)
        elif id_of(node) not in dropped:
            graph.node.append(node)
    used = {name for node in graph.node for name in (*read_names(node), *node.output)}
    source = network.model.graph
    graph.initializer.extend(t for t in source.initializer if t.name in used)
    graph.value_info.extend(v for v in source.value_info if v.name in used)
    return model


def _check_fit(network: Network, region: Region, block: onnx.ModelProto) -> None:
    found = block_shapes(block)
    wanted = (network.shapes[region.start], network.shapes[region.end])
    if found != wanted:
        raise ModelError(
            f"a block {found[0]} -> {found[1]} does not fit the region from {region.start!r} to "
            f"{region.end!r}, which is {wanted[0]} -> {wanted[1]}"
        )
    if opset(block) != network.opset:
        raise ModelError(
            f"a block of opset {opset(block)} does not fit a network of opset {network.opset}"
        )
