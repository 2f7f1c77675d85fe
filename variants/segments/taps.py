"""Taps: where one tensor carries everything, so that a network can be cut and read there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.dataflow import (
    WEIGHTS,
    Flow,
    NotCuttable,
    Shape,
    multiply_accumulates,
    read_flow,
    tensor_shapes,
)
from trimtab.variants.files.graphs import readers_of

if TYPE_CHECKING:
    import onnx

_EARLIEST, _LATEST = 0.01, 0.98  # share of the work: before it the thumbnail says as much
_CONVOLUTIONS = ("Conv", "ConvInteger", "ConvTranspose", "FusedConv", "QLinearConv")
#: Its tensors are not (1, C, H, W), whatever their shape.
_BLOCKED = "com.microsoft.nchwc"
_MAKES_MAPS = {  # these take and give (1, C, H, W)
    "AveragePool",
    "BatchNormalization",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "InstanceNormalization",
    "LRN",
    "MaxPool",
}
_LOSES_MAPS = {  # behind these the second axis need not be the channels
    "Einsum",
    "Expand",
    "Flatten",
    "Gather",
    "Reshape",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
# onnxruntime fuses these with what follows, or cutting behind them gains nothing.
_NO_END = {"Cast", "DequantizeLinear", "Identity", "Pad", "QLinearConv", "Slice"}
_GRIDS = (4, 2)
_JOINS = {"Add", "Concat", "Mul", "Sum"}


@dataclass(frozen=True)
class TapPlace:
    """A place to cut at.

    `name` is the tensor's; in quantised (QDQ) graphs the quantised tensor's. `channels` is the
    width of the pooled vector; heads read a finer one, the means of `grid` x `grid` cells of each
    channel. `share` (0..1) of the graph's multiply-accumulates lies before it,
    by the shapes; the share of the time is the device's to measure.
    """

    name: str
    channels: int
    share: float
    grid: int = 1


@dataclass(frozen=True)
class _Candidate:
    place: TapPlace
    join: bool


def find_taps(
    path: Path, size: tuple[int, int] | None = None
) -> tuple[list[TapPlace], str | None]:
    """The taps of a model file in network order, and why there are none (else None).

    A tap alone carries everything, is a feature map (1, C, H, W), float or quantised by a
    QuantizeLinear, and is the last of its kind before the next convolution, so that nothing is
    cut apart that onnxruntime fuses (Conv, BatchNormalization, Add, activation, and the
    (De)QuantizeLinear around them). Inner maps of a block that are wider than those before and
    behind it (the expansion of an inverted residual) are left out.

    `size` (height, width) is for files that leave their input size open (224 without it). Raises
    ModelError for a damaged file, and for nothing else.
    """
    if Path(path).suffix.lower() == ".tflite":
        return [], "TFLite files cannot be cut; only the input can be a tap"
    try:
        flow = read_flow(Path(path))
        return _places(flow, tensor_shapes(flow, size)), None
    except NotCuttable as reason:
        return [], str(reason)


def thin(taps: Sequence[TapPlace], limit: int) -> list[TapPlace]:
    """At most `limit` of the taps, spread evenly over the shares, in network order."""
    left = list(taps)
    if len(left) <= limit:
        return left
    chosen: list[TapPlace] = []
    for number in range(limit):
        wanted = (number + 1) / (limit + 1)
        nearest = min(left, key=lambda tap: abs(tap.share - wanted))
        left.remove(nearest)
        chosen.append(nearest)
    return [tap for tap in taps if tap in chosen]


def _places(flow: Flow, shapes: Mapping[str, tuple[int, Shape]]) -> list[TapPlace]:
    if any(node.domain == _BLOCKED for node in flow.nodes):
        raise NotCuttable(
            "onnxruntime saved it with feature maps in blocks of channels, for one kind of "
            "processor; take the file before that, or save it with at most extended optimisations"
        )
    if not any(node.op_type in _CONVOLUTIONS for node in flow.nodes):
        names = ", ".join(sorted(_CONVOLUTIONS))
        raise NotCuttable(f"it has no convolution ({names}), so no feature maps to pool")
    if not flow.carriers:
        raise NotCuttable(
            "no tensor alone carries everything: branches run side by side from end to end"
        )
    before = _work_before(flow, shapes)
    maps = _maps(flow)
    groups: dict[int, _Candidate] = {}  # by how many weighted operators lie before; last wins
    weighted, readers = _weighted_before(flow), readers_of(flow.nodes)
    for name, index in flow.carriers.items():
        shape = shapes.get(name, (0, ()))[1]
        channels = _channels(shape)
        if (
            name not in maps
            or channels is None
            or not _may_end(flow, name, index, readers, shapes)
        ):
            continue
        place = TapPlace(name, channels, before[index], _grid(shape))
        known = groups.get(weighted[index])
        join = flow.nodes[index].op_type in _JOINS or (known is not None and known.join)
        groups[weighted[index]] = _Candidate(place, join)
    if not groups:
        raise NotCuttable(_no_maps(flow, shapes))
    kept = [c.place for c in _without_expansions(list(groups.values()))]
    places = [place for place in kept if _EARLIEST <= place.share < _LATEST]
    if not places:
        raise NotCuttable(
            "every feature map that alone carries everything lies so early or late that an exit "
            f"there says nothing or saves nothing: {_percent(kept)} of the work lie before it"
        )
    return places


def _percent(places: Sequence[TapPlace]) -> str:
    return ", ".join(f"{100 * place.share:.1f} %" for place in places[:5])


def _no_maps(flow: Flow, shapes: Mapping[str, tuple[int, Shape]]) -> str:
    if any(node.op_type == "QLinearConv" for node in flow.nodes):
        return (
            "its feature maps are bytes between QLinearConv (onnxruntime's QOperator format), "
            "which are not cut; quantise it in the QDQ format"
        )
    name = next(iter(flow.carriers))
    shape = shapes.get(name, (0, None))[1]
    told = "of unknown shape" if shape is None else str(tuple(d or "?" for d in shape))
    return (
        "the tensors that alone carry everything are no feature maps (1, C, H, W) behind a "
        f"convolution, e.g. {name!r} is {told}"
    )


def _work_before(flow: Flow, shapes: Mapping[str, tuple[int, Shape]]) -> list[float]:
    """Share of the multiply-accumulates up to and with each node."""
    total, sums = 0, []
    for node in flow.nodes:
        work = multiply_accumulates(node, shapes)
        if work is None:
            raise NotCuttable(f"the shapes around its {node.op_type} {node.name!r} are not known")
        total += work
        sums.append(total)
    return [work / max(total, 1) for work in sums]


def _weighted_before(flow: Flow) -> list[int]:
    count, counts = 0, []
    for node in flow.nodes:
        count += node.op_type in WEIGHTS
        counts.append(count)
    return counts


def _maps(flow: Flow) -> set[str]:
    """Tensors behind a convolution whose second axis is surely the channels."""
    found: set[str] = set()
    for node in flow.nodes:
        makes = node.op_type in _CONVOLUTIONS or (found and node.op_type in _MAKES_MAPS)
        keeps = node.op_type not in _LOSES_MAPS and not found.isdisjoint(node.input)
        if makes or keeps:
            found.update(node.output)
    return found


def _channels(shape: Shape) -> int | None:
    return shape[1] if len(shape) == 4 and shape[0] == 1 else None


def _grid(shape: Shape) -> int:
    """The finest grid whose cells are whole pixels, all of one size."""
    height, width = shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return 1
    return next((grid for grid in _GRIDS if height % grid == width % grid == 0), 1)


def _may_end(
    flow: Flow,
    name: str,
    index: int,
    readers: Mapping[str, Sequence[onnx.NodeProto]],
    shapes: Mapping[str, tuple[int, Shape]],
) -> bool:
    """Whether fusion survives a cut at this tensor, and it can be pooled."""
    from onnx import TensorProto

    maker = flow.nodes[index]
    if maker.op_type in _NO_END:
        return False
    if maker.op_type == "QuantizeLinear":
        return _one_scale(maker, shapes)
    if any(node.op_type == "QuantizeLinear" for node in readers.get(name, ())):
        return False
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    return shapes[name][0] in floats


def _one_scale(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, Shape]]) -> bool:
    _, scale = shapes.get(node.input[1], (0, (None,)))
    return all(size == 1 for size in scale)


def _without_expansions(candidates: list[_Candidate]) -> list[_Candidate]:
    """Drop runs of maps that are wider than both what comes before and what comes behind them,
    joins (block ends) excepted."""
    widths = [c.place.channels for c in candidates]

    def inside(index: int) -> bool:
        width = widths[index]
        left = next((w for w in reversed(widths[:index]) if w != width), width)
        right = next((w for w in widths[index + 1 :] if w != width), width)
        return left < width > right

    return [c for i, c in enumerate(candidates) if c.join or not inside(i)]
