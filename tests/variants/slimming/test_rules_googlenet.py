"""What the rules find in the original GoogLeNet (a quarter of the width, 64x64)."""

from __future__ import annotations

import collections

import pytest
from slimming_models import check_fits, region_error

from benchmarks.googlenet import STAGES, export_onnx, random_googlenet
from benchmarks.slimming_shape import published
from trimtab.variants.slimming.network.network import Network, plain_network, read_network, replace
from trimtab.variants.slimming.rules import propose


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("googlenet") / "googlenet.onnx"
    return read_network(export_onnx(random_googlenet(10, 0.25), path, 64))


def test_the_stem_is_streamlined(network: Network) -> None:
    assert [p.note for p in propose(network, ("streamline",))] == [
        "Conv 7x7/2 16 > MaxPool 3x3/2 -> Conv 7x7/4 16",
        "Conv 7x7/2 16 > MaxPool 3x3/2 > LRN -> Conv 7x7/4 16",
        "Conv 3x3 48 > LRN -> Conv 3x3 48",
        "Conv 3x3 48 > LRN > MaxPool 3x3/2 -> Conv 3x3/2 48",
    ]


def test_normalisation_goes_where_pooling_stays(network: Network) -> None:
    (proposal,) = propose(network, ("normalisation",))
    assert proposal.note == "Conv 7x7/2 16 > MaxPool 3x3/2 > LRN -> Conv 7x7/2 16 > MaxPool 3x3/2"
    assert [node.op_type for node in proposal.block.graph.node] == ["Conv", "Relu", "MaxPool"]
    # LRN divides small maps by almost one, so the weights it starts with are almost right.
    assert region_error(network, proposal) < 0.05


def test_every_inception_module_is_slimmed(network: Network) -> None:
    proposals = propose(network, ("branch",))
    check_fits(network, proposals)
    counts = collections.Counter(p.region.start for p in proposals)
    # Three each, and one more with the pooling behind 3b and 4e.
    assert list(counts.values()) == [3, 4, 3, 3, 3, 3, 4, 3, 3]
    assert len(counts) == sum(len(modules) for modules in STAGES.values())


def test_all_of_it_at_once_is_the_published_shape(network: Network) -> None:
    chosen = published(network)
    assert [p.rule for p in chosen] == ["streamline"] * 2 + ["branch"] * 9
    slim = plain_network(replace(network, [(p.region, p.block) for p in chosen]))
    kinds = collections.Counter(node.op_type for node in slim.model.graph.node)
    assert kinds["LRN"] == 0
    assert kinds["MaxPool"] == 0
    assert kinds["Conv"] == 3 + 9 * 4
    assert slim.shapes[slim.output] == (1, 10)
