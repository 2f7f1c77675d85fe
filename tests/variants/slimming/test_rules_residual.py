"""The rule `residual`: blocks with a shortcut, and inverted residuals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from slimming_models import (
    Drawer,
    check_fits,
    network_of,
    notes,
    random_input,
    region_error,
    run,
    weight_of,
    write_resnet,
)

from trimtab.variants.slimming.network.network import Network, Region, extract, read_network
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules import propose
from trimtab.variants.slimming.rules.patterns.composing import composed
from trimtab.variants.slimming.rules.patterns.reading import read_conv
from trimtab.variants.slimming.rules.patterns.windows import Window
from trimtab.variants.slimming.rules.patterns.writing import BlockWriter

Drawn = Callable[[Drawer, str], str]


def proposed(drawn: Drawn, path: Path, width: int = 16) -> tuple[Network, list[Proposal]]:
    """What is proposed for a block behind a convolution, checked to fit."""
    network = network_of(path, lambda draw: drawn(draw, draw.conv_relu("image", width, 3, 2)))
    proposals = propose(network, ("residual",))
    check_fits(network, proposals)
    return network, proposals


@pytest.mark.parametrize(
    ("option", "width", "stride", "before", "after"),
    [
        ("A", 16, 1, "Conv 3x3 16 > Conv 3x3 16 + identity", "Conv 3x3 16"),
        ("A", 32, 2, "Conv 3x3/2 32 > Conv 3x3 32 + Slice, Pad", "Conv 3x3/2 32"),
        ("B", 32, 2, "Conv 3x3/2 32 > Conv 3x3 32 + Conv 1x1/2 32", "Conv 3x3/2 32"),
        ("B", 24, 1, "Conv 3x3 24 > Conv 3x3 24 + Conv 1x1 24", "Conv 3x3 24"),
    ],
)
def test_a_block_becomes_one_convolution(
    tmp_path: Path, option: str, width: int, stride: int, before: str, after: str
) -> None:
    network, proposals = proposed(
        lambda draw, x: draw.residual(x, width, stride, option), tmp_path / "a.onnx"
    )
    shortcut = before.split(" + ")[1]
    assert [p.note for p in proposals] == [
        f"{before} -> {after}",
        f"{before} -> {after} > Conv 1x1 {width} + {shortcut}",
    ]
    assert [n.op_type for n in proposals[0].block.graph.node] == ["Conv", "Relu"]
    assert network.makers[proposals[0].region.end].op_type == "Relu"


@pytest.mark.parametrize(("option", "width", "stride"), [("A", 16, 1), ("A", 32, 2), ("B", 32, 2)])
def test_the_shortcut_is_in_the_weights(
    tmp_path: Path, option: str, width: int, stride: int
) -> None:
    """A block whose second convolution is next to nothing does what its shortcut does."""

    def drawn(draw: Drawer, x: str) -> str:
        start = len(draw.weights)
        end = draw.residual(x, width, stride, option)
        # Written first are the first convolution's weight and bias, then the second's.
        for tensor in draw.weights[start + 2 : start + 4]:
            tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * 1e-4).tobytes()
        return end

    network, proposals = proposed(drawn, tmp_path / "a.onnx")
    assert region_error(network, proposals[0]) < 1e-4


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_composed_weights_are_right_where_the_block_is_linear(
    tmp_path: Path, size: int, stride: int
) -> None:
    """An inverted residual with activations that never act and weights halved for them is the
    one convolution."""

    def drawn(draw: Drawer, x: str) -> str:
        bounds = [draw.constant(value, shape=()) for value in (-1e6, 1e6)]
        for kernel, step, groups in ((1, 1, 1), (size, stride, 96)):
            x = draw.op("Clip", draw.conv(x, 96, kernel, step, groups), *bounds)
            draw.weights[-1].raw_data = bytes(4 * 96)  # the bias, of which half would be left
        return draw.conv(x, 24, 1)

    network, proposals = proposed(drawn, tmp_path / "a.onnx")
    first = proposals[0]
    assert first.note == (
        f"Conv 1x1 96 > Conv {size}x{size}{'/2' if stride == 2 else ''} 96 depthwise > "
        f"Conv 1x1 24 -> Conv {size}x{size}{'/2' if stride == 2 else ''} 24"
    )
    # Two activations were taken to pass half each.
    for tensor in first.block.graph.initializer:
        if tensor.name == "conv1.weight":
            tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * 4).tobytes()
    assert region_error(network, first) < 1e-9


@pytest.mark.parametrize(
    ("first", "second"), [((3, 1), (5, 2)), ((3, 2), (3, 1)), ((5, 2), (3, 2))]
)
def test_kernels_in_turn_are_one_kernel(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int]
) -> None:
    def drawn(draw: Drawer) -> str:
        return draw.conv(draw.conv("image", 4, *first), 5, *second)

    network = network_of(tmp_path / "a.onnx", drawn)
    found = [read_conv(network, node) for node in network.model.graph.node]
    convs = [conv for conv in found if conv is not None]
    kernel = composed(convs, 1.0)
    region = Region(convs[0].source, convs[1].output)
    size = kernel.weight.shape[2]
    pads = kernel.grid.pads((size, size), (32, 32), network.shapes[region.end][2:])
    assert pads is not None
    window = Window((size, size), kernel.stride, pads)
    block = BlockWriter(network, region)
    model = block.model(block.conv("input", kernel.within(window), kernel.bias, window))
    image = random_input(network, region.start)
    # Near the border, the first one's outputs outside of its maps are not seen by the second.
    inner = np.s_[:, :, 2:-2, 2:-2]
    wanted = run(extract(network, region), image)[inner]
    np.testing.assert_allclose(run(model, image)[inner], wanted, rtol=1e-3, atol=1e-4)


def test_inverted_residuals(tmp_path: Path) -> None:
    _, proposals = proposed(lambda draw, x: draw.inverted(x, 16, size=5), tmp_path / "a.onnx")
    before = "Conv 1x1 96 > Conv 5x5 96 depthwise > Conv 1x1 16 + identity"
    assert [p.note for p in proposals] == [
        f"{before} -> Conv 5x5 16",
        f"{before} -> Conv 3x3 16",
        f"{before} -> Conv 3x3 32 > Conv 1x1 16 + identity",
    ]
    kinds = [node.op_type for node in proposals[2].block.graph.node]
    assert kinds == ["Conv", "Clip", "Conv", "Add"]


def test_a_fused_one_keeps_the_maps_that_weigh_most(tmp_path: Path) -> None:
    def drawn(draw: Drawer, x: str) -> str:
        end = draw.inverted(x, 24)
        projection = draw.weights[-2]
        array = np.frombuffer(projection.raw_data, np.float32).reshape(24, 96).copy()
        array[:, 32:] = 0
        projection.raw_data = array.tobytes()
        return end

    _, proposals = proposed(drawn, tmp_path / "a.onnx")
    assert proposals[1].note.endswith("-> Conv 3x3 32 > Conv 1x1 24")
    assert weight_of(proposals[1].block, "conv2.weight").all()


def test_runs_of_blocks_become_one(tmp_path: Path) -> None:
    network = read_network(write_resnet(tmp_path / "a.onnx", "A"))
    plain, wide = "Conv 3x3 16 > Conv 3x3 16 + identity", "Conv 3x3 32 > Conv 3x3 32 + identity"
    down = "Conv 3x3/2 32 > Conv 3x3 32 + Slice, Pad"
    found = [note for note in notes(network, "residual") if note[0] in "(23"]
    assert found == [
        f"2 x ({plain}) -> {plain}",
        f"2 x ({plain}) > ({down}) -> {down}",
        f"({plain}) > ({down}) -> {down}",
        f"({plain}) > ({down}) > ({wide}) -> {down}",
        f"({down}) > ({wide}) -> {down}",
        f"({down}) > 2 x ({wide}) -> {down}",
        f"2 x ({wide}) -> {wide}",
    ]


def test_a_run_with_two_that_change_the_shape_stays(tmp_path: Path) -> None:
    _, proposals = proposed(
        lambda draw, x: draw.residual(draw.residual(x, 24, 2), 32, 2), tmp_path / "a.onnx"
    )
    assert not any(proposal.note.startswith("(") for proposal in proposals)


def bottleneck(draw: Drawer, x: str) -> str:
    main = draw.conv_relu(draw.conv_relu(x, 4, 1), 4)
    return draw.op("Relu", draw.op("Add", draw.conv(main, 16, 1), x))


def shortcut_of(make: Drawn) -> Drawn:
    """A block of two convolutions beside a shortcut of any kind."""
    return lambda draw, x: draw.op("Add", draw.conv(draw.conv_relu(x, 16), 16), make(draw, x))


NOTHING: dict[str, Drawn] = {
    "one convolution": lambda d, x: d.op("Add", d.conv(x, 16), x),
    "four convolutions": lambda d, x: d.op(
        "Add", d.conv(d.conv_relu(d.conv_relu(d.conv_relu(x, 16), 16), 16), 16), x
    ),
    "no large kernel": lambda d, x: d.op("Add", d.conv(d.conv_relu(x, 16, 1), 16, 1), x),
    "more work than before": bottleneck,
    "a shortcut with a large kernel": shortcut_of(lambda d, x: d.conv(x, 16)),
    "a shortcut with an activation": shortcut_of(lambda d, x: d.conv_relu(x, 16, 1)),
    "a shortcut of two convolutions": shortcut_of(lambda d, x: d.conv(d.conv(x, 16, 1), 16, 1)),
    "a shortcut from elsewhere": lambda d, x: d.op(
        "Add", d.conv(d.conv_relu(d.op("Sigmoid", x), 16), 16), x
    ),
    "its middle is read outside": lambda d, x: d.op(
        "Add", d.op("Add", d.conv(y := d.conv_relu(x, 16), 16), x), d.op("Sigmoid", y)
    ),
    "an activation before the sum": lambda d, x: d.op(
        "Add", d.conv_relu(d.conv_relu(x, 16), 16), x
    ),
    "a constant is added": lambda d, x: d.op(
        "Add", d.conv(d.conv_relu(x, 16), 16), d.constant(*range(16))
    ),
    "a gate between": lambda d, x: d.op(
        "Add", d.op("Mul", y := d.conv(d.conv_relu(x, 16), 16), d.op("Sigmoid", y)), x
    ),
    "no expansion": lambda d, x: d.conv(d.conv_relu(d.conv_relu(x, 16, 1), 16, 3, 1, 16), 16, 1),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_nothing_where_it_does_not_apply(tmp_path: Path, reason: str) -> None:
    def drawn(draw: Drawer) -> str:
        return NOTHING[reason](draw, draw.conv_relu("image", 16, 3, 2))

    assert notes(network_of(tmp_path / "a.onnx", drawn), "residual") == []
