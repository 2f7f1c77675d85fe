"""The rule `prune`: fewer maps inside blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from slimming_models import Drawer, check_fits, network_of, notes, region_error, weight_of

from trimtab.variants.slimming.rules import propose
from trimtab.variants.slimming.rules.prune import pruned

Drawn = Callable[[Drawer, str], str]
PLAIN = "Conv 3x3 16 > Conv 3x3 16 + identity"
MODULE = (16, 32, 32, 16, 16, 16)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (
            lambda d, x: d.residual(x, 64, 2),
            [
                f"Conv 3x3/2 64 > Conv 3x3 64 + Conv 1x1/2 64 -> Conv 3x3/2 {maps} > "
                "Conv 3x3 64 + Conv 1x1/2 64"
                for maps in (48, 32)
            ],
        ),
        (
            lambda d, x: d.residual(x, 64, 2, "A"),
            [
                f"Conv 3x3/2 64 > Conv 3x3 64 + Slice, Pad -> Conv 3x3/2 {maps} > "
                "Conv 3x3 64 + Slice, Pad"
                for maps in (48, 32)
            ],
        ),
        (
            lambda d, x: d.inverted(x, 16),
            [
                "Conv 1x1 96 > Conv 3x3 96 depthwise > Conv 1x1 16 + identity -> "
                f"Conv 1x1 {maps} > Conv 3x3 {maps} depthwise > Conv 1x1 16 + identity"
                for maps in (72, 48)
            ],
        ),
        (
            lambda d, x: d.inception(x, MODULE),
            [
                "Conv 1x1 16 | Conv 1x1 32 > Conv 3x3 32 | Conv 1x1 16 > Conv 5x5 16 | "
                "MaxPool 3x3 > Conv 1x1 16 -> "
                f"Conv 1x1 16 | Conv 1x1 {maps} > Conv 3x3 32 | Conv 1x1 8 > Conv 5x5 16 | "
                "MaxPool 3x3 > Conv 1x1 16"
                for maps in (24, 16)
            ],
        ),
    ],
)
def test_inner_maps_go_and_outer_ones_stay(
    tmp_path: Path, drawn: Drawn, expected: list[str]
) -> None:
    # Sigmoid, or the convolution before would be the first of a pair.
    network = network_of(
        tmp_path / "a.onnx", lambda d: drawn(d, d.op("Sigmoid", d.conv("image", 16, 3, 2)))
    )
    assert notes(network, "prune") == expected
    check_fits(network, propose(network, ("prune",)))


def test_two_convolutions_in_a_row(tmp_path: Path) -> None:
    network = network_of(
        tmp_path / "a.onnx", lambda d: d.conv_relu(d.conv_relu("image", 32, 5, 2), 16)
    )
    assert notes(network, "prune") == [
        "Conv 5x5/2 32 > Conv 3x3 16 -> Conv 5x5/2 24 > Conv 3x3 16",
        "Conv 5x5/2 32 > Conv 3x3 16 -> Conv 5x5/2 16 > Conv 3x3 16",
    ]
    check_fits(network, propose(network, ("prune",)))


def test_maps_of_least_magnitude_go(tmp_path: Path) -> None:
    """Half of the maps are next to nothing; without them the block does the same."""

    def drawn(draw: Drawer) -> str:
        x = draw.conv_relu("image", 32)
        for tensor in draw.weights[-2:]:
            array = np.frombuffer(tensor.raw_data, np.float32).reshape(32, -1).copy()
            array[::2] *= 1e-4
            tensor.raw_data = array.tobytes()
        return draw.conv_relu(x, 16)

    network = network_of(tmp_path / "a.onnx", drawn)
    half = propose(network, ("prune",))[-1]
    assert region_error(network, half) < 1e-4
    weights = [weight_of(half.block, t.name) for t in half.block.graph.initializer]
    assert sorted(w.shape for w in weights if w.ndim == 4) == [(16, 3, 3, 3), (16, 16, 3, 3)]


def test_the_same_model_is_pruned_the_same(tmp_path: Path) -> None:
    network = network_of(tmp_path / "a.onnx", lambda d: d.residual(d.conv_relu("image", 32), 32))
    first, again = ([p.key for p in propose(network, ("prune",))] for _ in range(2))
    assert first == again
    assert len(first) == 2


def test_nothing_is_left_of_a_ratio_too_small_for_eight_maps(tmp_path: Path) -> None:
    network = network_of(tmp_path / "a.onnx", lambda d: d.conv_relu(d.conv_relu("image", 16), 16))
    (proposal,) = propose(network, ("prune",))
    assert proposal.note.endswith("-> Conv 3x3 8 > Conv 3x3 16")
    model = onnx.ModelProto()
    model.CopyFrom(proposal.block)
    assert pruned(model, 0.5) is None  # eight are too few to go on


NOTHING: dict[str, Drawn] = {
    "few maps inside": lambda d, x: d.conv_relu(d.conv_relu(x, 8), 32),
    "one convolution": lambda d, x: d.op("Sigmoid", d.conv_relu(x, 32)),
    "a depthwise one has the maps of its input": lambda d, x: d.conv_relu(
        d.conv_relu(x, 32, 3, 1, 32), 32, 1
    ),
    "its middle is read outside": lambda d, x: d.join(d.conv(y := d.conv_relu(x, 32), 32), y),
    "all maps are the block's output": lambda d, x: d.join(d.conv_relu(x, 16, 1), d.conv(x, 16)),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_nothing_where_it_does_not_apply(tmp_path: Path, reason: str) -> None:
    def drawn(draw: Drawer) -> str:
        return NOTHING[reason](draw, draw.op("Sigmoid", draw.conv("image", 32, 3, 2)))

    assert notes(network_of(tmp_path / "a.onnx", drawn), "prune") == []
