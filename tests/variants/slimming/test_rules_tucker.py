"""The rule `tucker`: convolutions as three smaller ones."""

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
from trimtab.variants.slimming.rules.tucker import decomposed

Drawn = Callable[[Drawer], str]


def low_rank(draw: Drawer, x: str, width: int, rank: int, stride: int = 1, size: int = 3) -> str:
    """A convolution that needs but so many maps inside."""
    made = draw.conv(x, width, size, stride)
    weight = draw.weights[-2]
    rng = np.random.default_rng(0)
    inside = int(weight.dims[1])
    outer, inner = rng.normal(size=(width, rank)), rng.normal(size=(inside, rank))
    core = rng.normal(size=(rank, rank, size, size))
    full = np.einsum("abkl,oa,ib->oikl", core, outer, inner) / inside
    weight.raw_data = full.astype(np.float32).tobytes()
    return made


def test_a_convolution_becomes_three(tmp_path: Path) -> None:
    network = network_of(
        tmp_path / "a.onnx",
        lambda draw: draw.conv_relu(draw.conv_relu("image", 32, 1), 48, 5, 2),
    )
    assert notes(network, "tucker") == [
        "Conv 5x5/2 48 -> Conv 1x1 16 > Conv 5x5/2 24 > Conv 1x1 48",
        "Conv 5x5/2 48 -> Conv 1x1 8 > Conv 5x5/2 16 > Conv 1x1 48",
    ]
    proposals = propose(network, ("tucker",))
    check_fits(network, proposals)
    kinds = [node.op_type for node in proposals[0].block.graph.node]
    assert kinds == ["Conv", "Conv", "Conv", "Relu"]


@pytest.mark.parametrize("stride", [1, 2])
def test_nothing_is_lost_where_the_ranks_suffice(tmp_path: Path, stride: int) -> None:
    network = network_of(
        tmp_path / "a.onnx",
        lambda d: d.op("Relu", low_rank(d, d.conv_relu("image", 32), 32, 12, stride)),
    )
    half, third = propose(network, ("tucker",))
    assert region_error(network, half) < 1e-9
    assert 0.01 < region_error(network, third) < 1


def test_the_bias_is_added_once(tmp_path: Path) -> None:
    network = network_of(tmp_path / "a.onnx", lambda d: d.conv(d.conv_relu("image", 32), 32))
    (proposal, _) = propose(network, ("tucker",))
    zeros = 0 * random_input(network, proposal.region.start)
    wanted = run(extract(network, proposal.region), zeros)
    np.testing.assert_allclose(run(proposal.block, zeros), wanted, rtol=1e-6)
    assert np.abs(wanted).min() > 0


def test_factors_are_orthonormal(tmp_path: Path) -> None:
    network = network_of(tmp_path / "a.onnx", lambda d: d.conv(d.conv_relu("image", 32), 32))
    (proposal, _) = propose(network, ("tucker",))
    reduced = weight_of(proposal.block, "output.reduced.weight")[:, :, 0, 0]
    np.testing.assert_allclose(reduced @ reduced.T, np.eye(16), atol=1e-5)


def test_blocks_of_several_convolutions_can_be_decomposed_as_well(tmp_path: Path) -> None:
    network = network_of(
        tmp_path / "a.onnx",
        lambda draw: draw.max_pool(draw.inception(draw.conv_relu("image", 16), (64,) * 6)),
    )
    merged = propose(network, ("branch",))[-1]
    assert merged.note.endswith("-> Conv 1x1 32 > Conv 3x3/2 128 | Conv 1x1 64 > Conv 5x5/2 128")
    block = decomposed(merged.block, 0.5)
    assert block is not None
    kernels = [t.dims[2] for t in block.graph.initializer if len(t.dims) == 4]
    assert sorted(kernels) == [1, 1, 1, 1, 1, 1, 3, 5]
    image = random_input(network, merged.region.start)
    assert run(block, image).shape == run(merged.block, image).shape
    assert decomposed(block, 0.99) is None


NOTHING: dict[str, Drawn] = {
    "1x1 kernels": lambda d: d.conv_relu(d.conv_relu("image", 32, 1), 32, 1),
    "few maps read": lambda d: d.conv_relu("image", 32),
    "few maps made": lambda d: d.conv_relu(d.conv_relu("image", 32), 8),
    "depthwise": lambda d: d.conv_relu(d.conv_relu("image", 32), 32, 3, 1, 32),
    "groups": lambda d: d.conv_relu(d.conv_relu("image", 64), 64, 3, 1, 2),
    "more work than before": lambda d: d.conv_relu(d.conv_relu("image", 64, 1), 16, 2, 4),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_nothing_where_it_does_not_apply(tmp_path: Path, reason: str) -> None:
    assert notes(network_of(tmp_path / "a.onnx", NOTHING[reason]), "tucker") == []
