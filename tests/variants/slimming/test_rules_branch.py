"""The rule `branch`: parallel blocks with fewer, wider branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from slimming_models import Drawer, check_fits, network_of, notes, region_error, weight_of

from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules import propose

Drawn = Callable[[Drawer], str]
BEFORE = (
    "Conv 1x1 64 | Conv 1x1 96 > Conv 3x3 128 | Conv 1x1 16 > Conv 5x5 32 | "
    "MaxPool 3x3 > Conv 1x1 32"
)
GOOGLENET_3A = (64, 96, 128, 16, 32, 32)


def behind(drawn: Callable[[Drawer, str], str], path: Path) -> list[Proposal]:
    """What is proposed for a block behind a convolution of 8 maps, checked to fit."""
    network = network_of(path, lambda draw: drawn(draw, draw.conv_relu("image", 8, 3, 2)))
    proposals = propose(network, ("branch",))
    check_fits(network, proposals)
    return proposals


def test_googlenet_3a_as_published(tmp_path: Path) -> None:
    proposals = behind(lambda draw, x: draw.inception(x, GOOGLENET_3A), tmp_path / "a.onnx")
    assert [p.note for p in proposals] == [
        f"{BEFORE} -> Conv 1x1 48 > Conv 3x3 192 | Conv 1x1 16 > Conv 5x5 32 | Conv 1x1 32",
        f"{BEFORE} -> Conv 1x1 64 | Conv 1x1 96 > Conv 3x3 128 | Conv 1x1 16 > Conv 5x5 64",
        f"{BEFORE} -> Conv 1x1 48 > Conv 3x3 192 | Conv 1x1 16 > Conv 5x5 64",
    ]


def test_a_pooling_behind_the_block_multiplies_the_strides(tmp_path: Path) -> None:
    proposals = behind(
        lambda draw, x: draw.max_pool(draw.inception(x, GOOGLENET_3A), ceil_mode=1),
        tmp_path / "a.onnx",
    )
    assert proposals[-1].note == (
        f"{BEFORE} > MaxPool 3x3/2 -> Conv 1x1 48 > Conv 3x3/2 192 | Conv 1x1 16 > Conv 5x5/2 64"
    )
    assert not any("> MaxPool 3x3/2 ->" in proposal.note for proposal in proposals[:-1])


def test_channels_keep_their_order(tmp_path: Path) -> None:
    """Branches without activations are linear, and a reducer wider than what it reads can hold
    what is dropped: then every map comes out where it was."""

    def drawn(draw: Drawer, x: str) -> str:
        return draw.join(
            draw.conv(x, 3, 1),
            draw.conv(x, 4, 3),
            draw.conv(draw.conv(x, 16, 1), 5, 5),
            draw.conv(draw.max_pool(x, 1, 1), 6, 1),
        )

    network = network_of(tmp_path / "a.onnx", lambda d: drawn(d, d.conv_relu("image", 8)))
    proposals = propose(network, ("branch",))
    assert len(proposals) == 3
    for proposal in proposals:
        assert region_error(network, proposal) < 1e-9


def test_initial_weights_of_kept_maps_are_the_original_s(tmp_path: Path) -> None:
    def drawn(draw: Drawer, x: str) -> str:
        return draw.join(draw.conv_relu(x, 8, 1), draw.conv_relu(x, 16, 3))

    (proposal,) = behind(drawn, tmp_path / "a.onnx")
    assert proposal.note == "Conv 1x1 8 | Conv 3x3 16 -> Conv 3x3 24"
    assert [n.op_type for n in proposal.block.graph.node] == ["Conv", "Relu"]
    weight = weight_of(proposal.block, "conv1.weight")
    assert weight[:8, :, 1, 1].all()
    assert not weight[:8, :, 0].any()
    assert weight[8:].all()


def test_without_activations_between_nothing_is_lost(tmp_path: Path) -> None:
    """SqueezeNet's fire module: the 1x1 branch is a 3x3 one with zeros around."""

    def drawn(draw: Drawer) -> str:
        x = draw.conv_relu("image", 8)
        return draw.join(draw.conv_relu(x, 8, 1), draw.conv_relu(x, 16, 3))

    network = network_of(tmp_path / "a.onnx", drawn)
    (proposal,) = propose(network, ("branch",))
    assert region_error(network, proposal) < 1e-9


def test_the_cheaper_neighbour_takes_a_branch_in(tmp_path: Path) -> None:
    def drawn(draw: Drawer, x: str) -> str:
        return draw.join(draw.conv_relu(x, 8, 5), draw.conv_relu(x, 8, 1), draw.conv_relu(x, 8, 3))

    (proposal,) = behind(drawn, tmp_path / "a.onnx")
    assert proposal.note.endswith("-> Conv 5x5 8 | Conv 3x3 16")


def test_branches_beside_each_other_go_into_the_same_one(tmp_path: Path) -> None:
    def drawn(draw: Drawer, x: str) -> str:
        pooled = draw.conv_relu(draw.max_pool(x, 3, 1), 8, 1)
        return draw.join(draw.conv_relu(x, 16, 1), pooled, draw.conv_relu(x, 24, 3))

    proposals = behind(drawn, tmp_path / "a.onnx")
    assert [p.note.split(" -> ")[1] for p in proposals] == [
        "Conv 1x1 16 | Conv 3x3 32",
        "Conv 3x3 48",
    ]
    order = weight_of(proposals[-1].block, "conv1.weight")[:, :, 0, 0]
    assert [bool(row.any()) for row in order] == [False] * 24 + [True] * 24


def test_a_branch_of_two_large_kernels_is_widened_at_its_end(tmp_path: Path) -> None:
    """The double 3x3 branch of Inception-v3; its reducer is not the layer before the last."""

    def drawn(draw: Drawer, x: str) -> str:
        double = draw.conv_relu(draw.conv_relu(draw.conv_relu(x, 16, 1), 24), 24)
        return draw.max_pool(draw.join(draw.conv_relu(x, 16, 1), double))

    proposals = behind(drawn, tmp_path / "a.onnx")
    assert [p.note.split(" -> ")[1] for p in proposals] == [
        "Conv 1x1 16 > Conv 3x3 24 > Conv 3x3 40",
        "Conv 1x1 16 > Conv 3x3 24 > Conv 3x3/2 40",
    ]


def test_a_reducer_keeps_the_maps_that_weigh_most(tmp_path: Path) -> None:
    def drawn(draw: Drawer, x: str) -> str:
        large = draw.conv_relu(draw.conv_relu(x, 32, 1), 16, 3)
        values = next(t for t in draw.weights if list(t.dims) == [32, 8, 1, 1])
        array = np.frombuffer(values.raw_data, np.float32).reshape(32, -1).copy()
        array[::2] *= 100
        values.raw_data = array.tobytes()
        return draw.join(draw.conv_relu(x, 16, 1), large)

    (proposal,) = behind(drawn, tmp_path / "a.onnx")
    assert "Conv 1x1 16 > Conv 3x3 32" in proposal.note
    assert np.abs(weight_of(proposal.block, "conv1.weight")).max(axis=(1, 2, 3)).min() > 5


def one(draw: Drawer, x: str) -> str:
    return draw.conv_relu(x, 8, 1)


def three(draw: Drawer, x: str) -> str:
    return draw.conv_relu(x, 8, 3)


NOTHING: dict[str, Callable[[Drawer, str], str]] = {
    "no parallel block": three,
    "no large kernel": lambda d, x: d.join(one(d, x), one(d, x)),
    "no branch without one": lambda d, x: d.join(three(d, x), three(d, x)),
    "joined along the rows": lambda d, x: d.join(one(d, x), three(d, x), axis=2),
    "a branch is the input itself": lambda d, x: d.join(x, one(d, x), three(d, x)),
    "a branch without a convolution": lambda d, x: d.join(
        d.max_pool(x, 3, 1), one(d, x), three(d, x)
    ),
    "branches of different inputs": lambda d, x: d.join(one(d, x), three(d, d.op("Sigmoid", x))),
    "what a branch makes is read elsewhere": lambda d, x: d.op(
        "Add", d.join(y := one(d, x), three(d, x)), d.join(y, d.op("Sigmoid", y))
    ),
    "a branch is joined twice": lambda d, x: d.join(one(d, x), y := three(d, x), y),
    "other activations": lambda d, x: d.join(one(d, x), d.op("Elu", d.conv(x, 8))),
    "the same operator with other bounds": lambda d, x: d.join(
        d.op("LeakyRelu", d.conv(x, 8, 1), alpha=0.1), d.op("LeakyRelu", d.conv(x, 8), alpha=0.2)
    ),
    "a depthwise neighbour": lambda d, x: d.join(one(d, x), d.conv_relu(x, 8, 3, groups=8)),
    "something else lies between them": lambda d, x: d.join(
        one(d, x), d.op("Elu", d.conv(x, 8, 1)), three(d, x)
    ),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_nothing_where_it_does_not_apply(tmp_path: Path, reason: str) -> None:
    def drawn(draw: Drawer) -> str:
        return NOTHING[reason](draw, draw.conv_relu("image", 8))

    assert notes(network_of(tmp_path / "a.onnx", drawn), "branch") == []
