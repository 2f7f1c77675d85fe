"""The rule `streamline`: convolutions that take in what follows without weights."""

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
)

from trimtab.variants.slimming.network.network import extract
from trimtab.variants.slimming.rules import propose
from trimtab.variants.slimming.rules.patterns.windows import Grid, Window

Drawn = Callable[[Drawer], str]


def test_strides_multiply_and_what_has_no_weights_goes(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        x = draw.lrn(draw.max_pool(draw.op("Relu", draw.conv("image", 8, 7, 2)), ceil_mode=1))
        return draw.conv_relu(x, 8)

    network = network_of(tmp_path / "a.onnx", drawn)
    assert notes(network, "streamline") == [
        "Conv 7x7/2 8 > MaxPool 3x3/2 -> Conv 7x7/4 8",
        "Conv 7x7/2 8 > MaxPool 3x3/2 > LRN -> Conv 7x7/4 8",
    ]
    proposals = propose(network, ("streamline",))
    check_fits(network, proposals)
    for proposal in proposals:
        assert [node.op_type for node in proposal.block.graph.node] == ["Conv", "Relu"]


def test_outputs_stay_at_their_place_in_the_image(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        return draw.max_pool(draw.conv_relu("image", 4, 7, 2), ceil_mode=1)

    network = network_of(tmp_path / "a.onnx", drawn)
    (proposal,) = propose(network, ("streamline",))
    conv = proposal.block.graph.node[0]
    (pads,) = (list(a.ints) for a in conv.attribute if a.name == "pads")
    # Pooled pixel 0 covers pixels 0 to 2 of the convolution; its middle, 1, is at pixel 2 of the
    # image, which the new kernel's middle (tap 3) meets with a padding of 1.
    assert pads == [1, 1, 2, 2]


@pytest.mark.parametrize("order", ["lrn pool relu", "relu lrn pool", "pool relu lrn"])
def test_order_does_not_matter(tmp_path: Path, order: str) -> None:
    def drawn(draw: Drawer) -> str:
        x = draw.conv("image", 8)
        for kind in order.split():
            made = {"lrn": draw.lrn, "pool": draw.max_pool, "relu": lambda y: draw.op("Relu", y)}
            x = made[kind](x)
        return draw.conv_relu(x, 8)

    network = network_of(tmp_path / "a.onnx", drawn)
    last = propose(network, ("streamline",))[-1]
    check_fits(network, [last])
    said = "MaxPool 3x3/2 > LRN" if order.startswith("pool") else "LRN > MaxPool 3x3/2"
    assert last.note == f"Conv 3x3 8 > {said} -> Conv 3x3/2 8"
    assert [node.op_type for node in last.block.graph.node] == ["Conv", "Relu"]


def test_several_poolings_and_a_depthwise_convolution(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        x = draw.conv_relu(draw.conv_relu("image", 8), 8, 5, groups=8)
        x = draw.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        return draw.max_pool(x)

    network = network_of(tmp_path / "a.onnx", drawn)
    last = propose(network, ("streamline",))[-1]
    check_fits(network, [last])
    said = "Conv 5x5 8 depthwise > AveragePool 2x2/2 > MaxPool 3x3/2"
    assert last.note == f"{said} -> Conv 5x5/4 8 depthwise"
    assert weight_of(last.block, "conv1.weight").shape == (8, 1, 5, 5)


def test_a_kernel_that_would_skip_pixels_grows(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        return draw.max_pool(draw.max_pool(draw.conv_relu("image", 8, 1)))

    network = network_of(tmp_path / "a.onnx", drawn)
    assert notes(network, "streamline") == [
        "Conv 1x1 8 > MaxPool 3x3/2 -> Conv 3x3/2 8",
        "Conv 1x1 8 > MaxPool 3x3/2 > MaxPool 3x3/2 -> Conv 5x5/4 8",
    ]
    proposals = propose(network, ("streamline",))
    check_fits(network, proposals)
    for proposal, middle in zip(proposals, (1, 2), strict=True):
        weight = weight_of(proposal.block, "conv1.weight")
        assert weight[:, :, middle, middle].all()
        assert np.count_nonzero(weight) == np.count_nonzero(weight[:, :, middle, middle])


def test_scales_before_the_activation_go_into_the_weights(tmp_path: Path) -> None:
    """Two scales, each per map; nothing is lost, so the block gives the same."""

    def drawn(draw: Drawer) -> str:
        x = draw.lrn(draw.conv("image", 4))
        x = draw.op("Mul", x, draw.constant(2, -1, 0.5, 3))
        x = draw.op("Relu", draw.op("Add", x, draw.constant(1, -1, 0.1, 0)))
        return draw.conv_relu(x, 4)

    network = network_of(tmp_path / "a.onnx", drawn)
    last = propose(network, ("streamline",))[-1]
    assert last.note == "Conv 3x3 4 > LRN > Mul > Add -> Conv 3x3 4"
    # LRN over random maps divides by almost one.
    assert region_error(network, last) < 1e-4


def test_a_batch_norm_behind_the_activation(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        x = draw.op("Relu", draw.conv("image", 4))
        scaled = draw.op("Mul", x, draw.constant(2, 1, 0.5, 3))
        return draw.conv_relu(draw.max_pool(scaled), 4)

    network = network_of(tmp_path / "a.onnx", drawn)
    first = propose(network, ("streamline",))[0]
    assert first.note == "Conv 3x3 4 > Mul -> Conv 3x3 4"
    assert region_error(network, first) < 1e-9


@pytest.mark.parametrize("values", [(2.0, -1.0, 1.0, 1.0), (0.0, 1.0, 1.0, 1.0)])
def test_not_past_what_goes_below_zero_behind_the_activation(
    tmp_path: Path, values: tuple[float, ...]
) -> None:
    def drawn(draw: Drawer) -> str:
        x = draw.max_pool(draw.conv_relu("image", 4))
        return draw.conv_relu(draw.lrn(draw.op("Mul", x, draw.constant(*values))), 4)

    network = network_of(tmp_path / "a.onnx", drawn)
    assert notes(network, "streamline") == ["Conv 3x3 4 > MaxPool 3x3/2 -> Conv 3x3/2 4"]


def test_the_streak_of_convolutions_behind_is_untouched(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        return draw.conv_relu(draw.conv_relu(draw.lrn(draw.conv_relu("image", 4)), 4), 4)

    (proposal,) = propose(network_of(tmp_path / "a.onnx", drawn), ("streamline",))
    assert proposal.note == "Conv 3x3 4 > LRN -> Conv 3x3 4"


def test_initial_weights_are_the_original_s(tmp_path: Path) -> None:
    def drawn(draw: Drawer) -> str:
        return draw.max_pool(draw.conv_relu("image", 4))

    network = network_of(tmp_path / "a.onnx", drawn)
    (proposal,) = propose(network, ("streamline",))
    image = random_input(network, network.image)
    conv = extract(network, proposal.region).graph
    (weight,) = (t for t in conv.initializer if len(t.dims) == 4)
    assert weight_of(proposal.block, "conv1.weight").tobytes() == weight.raw_data
    assert run(proposal.block, image).shape == network.shapes[proposal.region.end]


NOTHING: dict[str, Drawn] = {
    "nothing without weights follows": lambda d: d.conv_relu(d.conv_relu("image", 4), 4),
    "another reads the convolution": lambda d: d.join(
        d.max_pool(x := d.conv("image", 4), 3, 1), x
    ),
    "another reads its activation": lambda d: d.join(
        d.max_pool(x := d.conv_relu("image", 4), 3, 1), x
    ),
    "the scale is not per map": lambda d: d.op(
        "Mul", d.conv("image", 4), d.constant(*[1.0] * 32, shape=(1, 1, 1, 32))
    ),
    "the scale is computed": lambda d: d.op("Mul", x := d.conv("image", 4), d.op("Sigmoid", x)),
    "a pooling without a convolution": lambda d: d.conv_relu(d.max_pool("image"), 4),
    "a dilated pooling": lambda d: d.max_pool(d.conv_relu("image", 4), dilations=[2, 2]),
    "an operator that mixes pixels": lambda d: d.op(
        "InstanceNormalization", d.conv("image", 4), *[d.weight(4) for _ in range(2)]
    ),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_nothing_where_it_does_not_apply(tmp_path: Path, reason: str) -> None:
    assert notes(network_of(tmp_path / "a.onnx", NOTHING[reason]), "streamline") == []


@pytest.mark.parametrize("before", range(15, 24))
@pytest.mark.parametrize("kernel", [5, 7, 9])
@pytest.mark.parametrize("ceil", [0, 1])
def test_any_size_keeps_its_shape(before: int, kernel: int, ceil: int) -> None:
    half = kernel // 2
    conv = Window((kernel, kernel), (2, 2), (half,) * 4)
    middle = (before + 2 * half - kernel) // 2 + 1
    after = (middle - 3 + ceil) // 2 + 1
    grid = conv.grid.then(Window((3, 3), (2, 2), (0, 0, 0, 0)))
    assert grid == Grid((4, 4), (2.0, 2.0))
    pads = grid.pads((kernel, kernel), (before, before), (after, after))
    assert pads is not None
    assert (before + pads[0] + pads[2] - kernel) // 4 + 1 == after
    assert pads[0] == max(half - 2, 0)


def test_no_padding_where_none_does_it() -> None:
    grid = Grid((2, 2), (0.0, 0.0))
    assert grid.pads((3, 3), (8, 8), (4, 4)) == (1, 1, 0, 0)
    assert grid.pads((3, 3), (8, 8), (9, 9)) is None
    assert grid.pads((1, 1), (8, 8), (2, 2)) is None


def test_nothing_where_no_padding_gives_the_shape(tmp_path: Path) -> None:
    """Three poolings without padding leave pixels at the border that a convolution would see."""

    def drawn(draw: Drawer) -> str:
        x = draw.conv_relu("image", 4)
        for _ in range(3):
            x = draw.max_pool(x, 3, 1, pads=[0, 0, 0, 0])
        return draw.conv_relu(x, 4)

    network = network_of(tmp_path / "a.onnx", drawn)
    assert notes(network, "streamline") == ["Conv 3x3 4 > MaxPool 3x3 -> Conv 3x3 4"]
