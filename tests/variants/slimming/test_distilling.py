"""Slimmed networks taught end to end by their original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sample_blocks import run_model
from sample_models import texture_images, write_onnx
from sample_slimming import IMAGES, Stop, content, inputs, propose

from trimtab.variants.slimming import (
    DistillRecipe,
    FolderCache,
    LearnRecipe,
    Network,
    Slimmed,
    distill,
    read_network,
    slim,
)
from trimtab.variants.slimming.torch_module.batch_norm import fold, normalise
from trimtab.variants.slimming.torch_module.module import OnnxModule
from trimtab.variants.slimming.training.teacher import changed


@pytest.mark.parametrize("softmax", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"loss": "kl", "temperature": 2.0, "learning_rate": 3e-4},
        pytest.param({"flip": True, "shift": 2, "new_factor": 3.0}, marks=pytest.mark.slow),
        pytest.param({"normalise": True}, marks=pytest.mark.slow),
        pytest.param({"mix": 0.3, "bfloat16": True}, marks=pytest.mark.slow),
    ],
)
def test_the_original_teaches_the_slimmed_network(
    tmp_path: Path, softmax: bool, said: dict[str, Any]
) -> None:
    original = read_network(write_onnx(tmp_path / "a.onnx", width=8, softmax=softmax))
    proposal = propose(original, "image", "relu1")
    small = slim(original, [proposal], inputs(), LearnRecipe(epochs=1, solve=False))
    recipe = DistillRecipe(**{"epochs": 8, "batch": 8, "learning_rate": 3e-3, **said})
    regions = [part.region for part in small.parts]
    told: list[int] = []
    taught = distill(
        original,
        small.model,
        inputs(),
        recipe,
        new=regions,
        progress=lambda epoch, *_: told.append(epoch),
    )
    assert taught.error < 0.6 * taught.error_before
    assert taught.agreement >= taught.agreement_before
    assert told == list(range(1, taught.epochs + 1))
    onnx.checker.check_model(taught.model, full_check=True)
    fresh = (texture_images(60, seed=9)[0].astype(np.float32) - 127.5) / 127.5
    fresh = fresh.transpose(0, 3, 1, 2).astype(np.float32)
    answers = [run_model(m, fresh) for m in (original.model, small.model, taught.model)]
    before, after = (np.square(a - answers[0]).mean() for a in answers[1:])
    assert after < 0.7 * before
    assert (taught.model.graph.node[-1].op_type == "Softmax") is softmax
    assert [n.op_type for n in taught.model.graph.node] == [
        n.op_type for n in small.model.graph.node
    ]


def test_teaching_goes_on_after_a_kill(tmp_path: Path, network: Network, slimmed: Slimmed) -> None:
    recipe = DistillRecipe(epochs=4, batch=16, patience=4)
    arguments = (network, slimmed.model, inputs(), recipe, 5)
    whole = distill(*arguments)
    cache = FolderCache(tmp_path)

    def stop(epoch: int, epochs: int, error: float) -> None:
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        distill(*arguments, cache, progress=stop)
    told: list[int] = []
    after = distill(*arguments, cache, progress=lambda epoch, *_: told.append(epoch))
    assert told == [3, 4]
    assert content(after.model) == content(whole.model)
    assert (after.error, after.epochs) == (whole.error, whole.epochs)
    assert after.error_before == whole.error_before
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    assert content(distill(*arguments, cache).model) == content(whole.model)


def test_replaced_regions_may_learn_faster(network: Network, slimmed: Slimmed) -> None:
    """With nearly no rate for the rest, only weights of replaced regions move."""
    recipe = DistillRecipe(epochs=1, batch=16, learning_rate=1e-9, new_factor=1e6)
    new = [slimmed.parts[0].region]
    taught = distill(network, slimmed.model, inputs(), recipe, new=new)
    assert taught.error < taught.error_before
    from sample_blocks import weights_of

    before, after = weights_of(slimmed.model), weights_of(taught.model)
    moved = {n for n in before if np.abs(before[n] - after[n]).max() > 1e-6}
    assert moved == {"relu_1/w", "relu_1/b"}


def test_normalisation_begins_and_ends_without_a_trace(network: Network) -> None:
    torch.manual_seed(0)
    module = OnnxModule(network.model)
    images = torch.from_numpy(IMAGES)
    named = set(dict(module.named_parameters()))
    with torch.no_grad():
        before = module(images)
        normalise(module)
        module(images)
        module.eval()
        torch.testing.assert_close(module(images), before, rtol=1e-4, atol=1e-4)
        module.train()
        for _ in range(3):  # the statistics move
            module(3 * images + 1)
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter += 0.3 * torch.rand_like(parameter)
        module.eval()
        learned = module(images)
        fold(module)
        assert set(dict(module.named_parameters())) == named
        torch.testing.assert_close(module(images), learned, rtol=1e-4, atol=1e-4)
    assert float((learned - before).abs().max()) > 0.1


def test_teaching_with_normalisation_goes_on_after_a_kill(
    tmp_path: Path, network: Network, slimmed: Slimmed
) -> None:
    recipe = DistillRecipe(epochs=3, batch=16, patience=3, normalise=True)
    arguments = (network, slimmed.model, inputs(), recipe, 5)
    whole, cache = distill(*arguments), FolderCache(tmp_path)
    distill(*arguments, cache, enough=lambda: True)
    after = distill(*arguments, cache)
    assert (after.epochs, content(after.model)) == (3, content(whole.model))


def test_images_are_blended_in_pairs_moved_and_mirrored() -> None:
    """With one colour an image a blend tells its share; moved and mirrored alone, an image is a
    part of itself with its edges repeated."""
    colours = [np.full((3, 4, 4), value, np.float32) for value in (0.0, 1.0, 10.0, 100.0)]
    recipe = DistillRecipe(mix=0.5)
    blends = changed(colours, recipe, np.random.default_rng(3))
    assert np.ptp(blends.reshape(4, -1), axis=1).max() == 0
    values = blends[:, 0, 0, 0]
    assert len(set(values.tolist()) - {0.0, 1.0, 10.0, 100.0}) >= 2  # one may meet itself
    assert values.min() >= 0 and values.max() <= 100
    np.testing.assert_array_equal(blends, changed(colours, recipe, np.random.default_rng(3)))
    (moved,) = changed(IMAGES[:1], DistillRecipe(shift=2), np.random.default_rng(0))
    wide = np.pad(IMAGES[0], ((0, 0), (2, 2), (2, 2)), mode="edge")
    height, width = moved.shape[1:]
    places = [(y, x) for y in range(5) for x in range(5)]
    assert any((wide[:, y : y + height, x : x + width] == moved).all() for y, x in places)
    flips = [
        changed(IMAGES[:1], DistillRecipe(flip=True), np.random.default_rng(n))[0]
        for n in range(8)
    ]
    mirrored = {bool((found == IMAGES[0, :, :, ::-1]).all()) for found in flips}
    assert mirrored == {True, False}


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "mae"},
        {"shift": -1},
        {"mix": -0.1},
        {"new_factor": 0.0},
        {"epochs": 0},
        {"held_out": 0.9},
    ],
)
def test_recipes_of_teaching_hold_their_rules(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        DistillRecipe(**wrong)
