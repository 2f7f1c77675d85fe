"""Proposals: their order, keys, and that every one fits its region."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from slimming_models import check_fits, notes, write_inception, write_lite, write_resnet

from trimtab.variants.slimming.network.network import read_network
from trimtab.variants.slimming.rules import RULES, propose
from trimtab.variants.slimming.torch_module.module import OnnxModule, unsupported
from trimtab_runtime.errors import ModelError

WRITERS = [write_inception, write_resnet, write_lite]


@pytest.mark.parametrize("write", WRITERS)
def test_every_proposal_fits_its_region(tmp_path: Path, write: Any) -> None:
    network = read_network(write(tmp_path / "a.onnx"))
    check_fits(network, propose(network))


@pytest.mark.parametrize("write", WRITERS)
def test_blocks_have_the_network_s_opset_and_can_be_learned(tmp_path: Path, write: Any) -> None:
    import torch

    network = read_network(write(tmp_path / "a.onnx"))
    for proposal in propose(network):
        onnx.checker.check_model(proposal.block, full_check=True)
        assert proposal.block.opset_import == network.model.opset_import
        assert proposal.block.ir_version == network.model.ir_version
        assert unsupported(proposal.block) is None
        start, end = (network.shapes[n] for n in (proposal.region.start, proposal.region.end))
        found = OnnxModule(proposal.block)(torch.zeros(3, *start[1:]))
        assert tuple(found.shape) == (3, *end[1:])


@pytest.mark.parametrize("write", WRITERS)
def test_proposals_are_in_network_order(tmp_path: Path, write: Any) -> None:
    network = read_network(write(tmp_path / "a.onnx"))
    made = [network.image, *(node.output[0] for node in network.model.graph.node)]
    places = [
        (made.index(p.region.start), made.index(p.region.end), list(RULES).index(p.rule))
        for p in propose(network)
    ]
    assert places == sorted(places)
    assert len(set(places)) > 3


def test_keys_are_of_the_content(tmp_path: Path) -> None:
    path = write_inception(tmp_path / "a.onnx")
    first, again = (propose(read_network(path)) for _ in range(2))
    assert [p.key for p in first] == [p.key for p in again]
    assert len({p.key for p in first}) == len(first)
    block = onnx.ModelProto()
    block.CopyFrom(first[0].block)
    weight = block.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight) + np.float32(1)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    others = [{"block": block}, {"rule": "branch"}, {"region": again[1].region}]
    assert len({first[0].key, *(dataclasses.replace(first[0], **o).key for o in others)}) == 4


def test_regions_of_different_proposals_may_overlap(tmp_path: Path) -> None:
    network = read_network(write_inception(tmp_path / "a.onnx"))
    starts = [p.region.start for p in propose(network, ("branch",))]
    assert len(starts) > len(set(starts))


def test_only_the_rules_named_propose(tmp_path: Path) -> None:
    network = read_network(write_inception(tmp_path / "a.onnx"))
    assert {p.rule for p in propose(network, ("tucker", "branch"))} == {"tucker", "branch"}
    assert propose(network, ()) == []
    assert notes(network, "residual") == []


def test_an_unknown_rule_is_named(tmp_path: Path) -> None:
    network = read_network(write_lite(tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match="no slimming rule 'fold'; there are streamline, branch"):
        propose(network, ("fold",))
