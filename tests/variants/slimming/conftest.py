"""The network that is slimmed, and what came of it."""

from __future__ import annotations

import pytest
from sample_models import GraphDrawer
from sample_slimming import RECIPE, inputs, propose

from trimtab.variants.slimming import Network, Proposal, Slimmed, read_network, slim


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Four pairs of Conv and Relu, relu_1 to relu_7; two branches from relu_5 to the Concat."""
    draw = GraphDrawer(seed=2)
    x = "image"
    for width, stride in ((6, 2), (6, 1), (8, 2)):
        x = draw.op("Relu", draw.conv(x, width, stride=stride))
    parts = [draw.op("Relu", draw.conv(x, width)) for width in (4, 5)]
    x = draw.op("Concat", *parts, width=9, axis=1)
    path = tmp_path_factory.mktemp("slim") / "net.onnx"
    return read_network(draw.write(path, draw.head(x)))


@pytest.fixture(scope="module")
def proposals(network: Network) -> list[Proposal]:
    return [
        propose(network, "relu_1", "relu_5", 5),
        propose(network, "image", "relu_1", 1),
        propose(network, "relu_5", "concat_10"),
    ]


@pytest.fixture(scope="module")
def slimmed(network: Network, proposals: list[Proposal]) -> Slimmed:
    return slim(network, proposals, inputs(), RECIPE, seed=3)
