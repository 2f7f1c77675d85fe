"""The rule `lrn`: the same numbers, made of operators that run in vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from slimming_models import Drawer, check_fits, network_of, random_input, run

from trimtab.variants.slimming import TrainingImages, learn_alone, slim
from trimtab.variants.slimming.network.network import Network, extract
from trimtab.variants.slimming.rules import propose
from trimtab.variants.slimming.torch_module.module import OnnxModule
from trimtab.variants.slimming.training.recipes import LearnRecipe

CHANNELS = 7


def _network(tmp_path: Path, size: int, beta: float, bias: float = 1.0) -> Network:
    def drawn(draw: Drawer) -> str:
        said = {"size": size, "alpha": 0.3, "beta": beta, "bias": bias}
        return draw.conv_relu(draw.op("LRN", draw.conv("image", CHANNELS, 3, 2), **said), 4)

    return network_of(tmp_path / "lrn.onnx", drawn)


# onnxruntime has odd windows only; some here are wider than there are channels.
@pytest.mark.parametrize("size", [3, 5, 7, 9, 11, 13])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 0.6])
def test_it_gives_what_the_operator_gives(tmp_path: Path, size: int, beta: float) -> None:
    network = _network(tmp_path, size, beta, bias=1.5)
    (proposal,) = propose(network, ("lrn",))
    check_fits(network, [proposal])
    assert "LRN" not in {node.op_type for node in proposal.block.graph.node}
    given = 20.0 * random_input(network, proposal.region.start)
    wanted = run(extract(network, proposal.region), given)
    assert np.abs(wanted - given).max() > 1  # it is not the identity
    np.testing.assert_allclose(run(proposal.block, given), wanted, rtol=2e-5, atol=1e-6)


def test_nothing_of_it_is_learned(tmp_path: Path) -> None:
    network = _network(tmp_path, 5, 0.75)
    (proposal,) = propose(network, ("lrn",))
    assert not list(OnnxModule(proposal.block).parameters())
    images = np.random.default_rng(0).standard_normal((20, *network.shapes[network.image][1:]))
    inputs = TrainingImages(lambda: iter(images[:, None].astype(np.float32)), "drawn")
    ((_, learned),) = learn_alone(network, [proposal], inputs)
    found = slim(network, [proposal], inputs, LearnRecipe())
    for error in (learned.error, found.parts[0].error):
        assert error == pytest.approx(0, abs=1e-9)


def test_a_model_of_an_old_opset_is_left_alone(tmp_path: Path) -> None:
    network = _network(tmp_path, 5, 0.75)
    network.model.opset_import[0].version = 10
    assert propose(network, ("lrn",)) == []
