"""Networks slimmed from the bottom up, and taught end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sample_blocks import conv_block, run_model
from sample_slimming import COUNT, IMAGES, RECIPE, Feeds, Stop, content, inputs, maps, propose

from trimtab.variants.slimming import (
    FolderCache,
    LearnRecipe,
    Network,
    Proposal,
    Slimmed,
    Step,
    learn,
    learn_alone,
    slim,
)
from trimtab.variants.slimming.network.network import between
from trimtab.variants.slimming.training.feature_maps import Activations, chosen
from trimtab_runtime.errors import ModelError

Array = np.ndarray[Any, np.dtype[Any]]


def test_blocks_are_learned_from_the_bottom_up(
    network: Network, proposals: list[Proposal], slimmed: Slimmed
) -> None:
    """Each block's inputs come from the network slimmed below it, its targets from the original;
    so learning them one by one by hand gives the same network."""
    onnx.checker.check_model(slimmed.model, full_check=True)
    assert [p.region.end for p in slimmed.parts] == ["relu_1", "relu_5", "concat_10"]
    assert all(p.error < p.error_before for p in slimmed.parts)
    assert slimmed.parts[0].note == "image to relu_1" and slimmed.parts[0].rule == "conv"
    assert (slimmed.recipe, slimmed.seed) == (RECIPE, 3)
    lower = slim(network, proposals[1:2], inputs(), RECIPE, seed=3)
    present = between_model(lower.model, "relu_1")
    second = learn(
        proposals[0].block,
        run_model(present, IMAGES),
        maps(network, "relu_5"),
        RECIPE,
        seed=3,
    )
    assert slimmed.parts[1].error == pytest.approx(second.error, rel=1e-3)
    other = learn(
        proposals[0].block, maps(network, "relu_1"), maps(network, "relu_5"), RECIPE, seed=3
    )
    assert slimmed.parts[1].error != pytest.approx(other.error, rel=1e-3)
    kinds = [node.op_type for node in slimmed.model.graph.node]
    assert kinds == ["Conv", "Relu"] * 3 + ["GlobalAveragePool", "Flatten", "Gemm"]


def between_model(model: onnx.ModelProto, end: str) -> onnx.ModelProto:
    from trimtab.variants.slimming import plain_network

    plain = plain_network(model)
    return between(plain, plain.image, end)


@pytest.mark.slow
def test_the_same_arguments_give_the_same_bytes(
    network: Network, proposals: list[Proposal], slimmed: Slimmed
) -> None:
    again = slim(network, list(reversed(proposals)), inputs(), RECIPE, seed=3)
    assert content(again.model) == content(slimmed.model) and again.parts == slimmed.parts
    assert content(slim(network, proposals, inputs(), RECIPE, seed=4).model) != content(
        slimmed.model
    )


def stopper(number: int, epoch: int) -> Callable[[Step], None]:
    def stop(step: Step) -> None:
        if (step.number, step.epoch) == (number, epoch):
            raise Stop

    return stop


def test_a_killed_run_goes_on_and_gives_the_same(
    tmp_path: Path, network: Network, proposals: list[Proposal], slimmed: Slimmed
) -> None:
    cache = FolderCache(tmp_path / "kept")
    with pytest.raises(Stop):
        slim(network, proposals, inputs(), RECIPE, 3, cache, progress=stopper(3, 1))
    steps: list[Step] = []
    after = slim(network, proposals, inputs(), RECIPE, 3, cache, progress=steps.append)
    assert {s.number for s in steps} == {3} and steps[0].epoch == 0
    assert [(s.blocks, s.epochs, s.note) for s in steps] == [
        (3, 2, "relu_5 to concat_10") for _ in steps
    ]
    assert content(after.model) == content(slimmed.model) and after.parts == slimmed.parts
    given = inputs()
    slim(network, proposals, given, RECIPE, 3, cache, progress=stopper(1, 0))
    assert isinstance(given.feeds, Feeds) and given.feeds.times == 0, "all of it was kept"


def test_combinations_share_what_they_agree_on(
    tmp_path: Path, network: Network, proposals: list[Proposal]
) -> None:
    """Only what lies below a block counts: not what lies behind it, nor in another branch."""
    cache, steps = FolderCache(tmp_path), list[Step]()
    branches = [propose(network, "relu_5", end, 1) for end in ("relu_7", "relu_9")]

    def learned(*chosen: Proposal) -> list[str]:
        steps.clear()
        slim(network, chosen, inputs(), RECIPE, 3, cache, progress=steps.append)
        return [s.note for s in steps if s.epoch == 0]

    upper, lowest, _ = proposals
    assert learned(lowest, upper) == [lowest.note, upper.note]
    assert learned(lowest, branches[0]) == [branches[0].note]
    assert learned(lowest, branches[1]) == [branches[1].note]
    assert learned(lowest, *branches) == []
    assert learned(upper) == [upper.note], "without the block below it is another one"
    assert learned(upper, lowest) == []


def test_a_damaged_cache_is_learned_anew(
    tmp_path: Path, network: Network, proposals: list[Proposal]
) -> None:
    cache = FolderCache(tmp_path)
    first = slim(network, proposals[:1], inputs(), RECIPE, 3, cache)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:50])
    again = slim(network, proposals[:1], inputs(), RECIPE, 3, cache)
    assert content(again.model) == content(first.model)


@pytest.mark.slow
def test_blocks_learned_alone_see_the_original_only(
    tmp_path: Path, network: Network, proposals: list[Proposal]
) -> None:
    cache = FolderCache(tmp_path)
    overlapping = propose(network, "image", "relu_5", 5)
    wrong = Proposal("w", proposals[0].region, cut_sum(network), "of a CumSum")
    given = [*proposals, overlapping, wrong]
    found = list(learn_alone(network, given, inputs(), RECIPE, 3, cache))
    assert [p.region.end for p, _ in found] == [
        "relu_1",
        "relu_5",
        "relu_5",
        "relu_5",
        "concat_10",
    ]
    for proposal, learned in found:
        if proposal is wrong:
            assert isinstance(learned, ModelError)
            assert "of a CumSum: " in str(learned) and "CumSum" in str(learned)
            continue
        assert not isinstance(learned, ModelError)
        start, end = proposal.region.start, proposal.region.end
        expected = learn(proposal.block, maps(network, start), maps(network, end), RECIPE, 3)
        assert learned.error == pytest.approx(expected.error, rel=1e-3)
    steps: list[Step] = []
    again = list(learn_alone(network, given, inputs(), RECIPE, 3, cache, steps.append))
    assert {s.note for s in steps} == {"of a CumSum"}, "the others were kept"
    alone = {p.key: r for p, r in again if not isinstance(r, ModelError)}
    short = LearnRecipe(epochs=1, batch=16)
    short_fresh = slim(network, proposals, inputs(), short, 3)
    short_on_top = slim(network, proposals, inputs(), short, 3, alone=alone)
    for with_start, without in zip(short_on_top.parts, short_fresh.parts, strict=True):
        assert with_start.error_before < 0.8 * without.error_before


def cut_sum(network: Network) -> onnx.ModelProto:
    block = conv_block(network.shapes["relu_1"], network.shapes["relu_5"], 5)
    block.graph.node[1].op_type = "CumSum"
    return block


def test_maps_are_moved_upwards_without_feeding_again(network: Network) -> None:
    given = inputs()
    held = Activations(given)
    feeds = given.feeds
    assert isinstance(feeds, Feeds)
    few, many = list(range(0, COUNT, 3)), list(range(COUNT))
    for tensor, indices, times in [
        ("image", few, 1),
        ("relu_1", few, 1),
        ("relu_5", many, 2),
        ("relu_7", many, 2),
        ("relu_9", few, 3),
        ("concat_10", few, 4),
    ]:
        found = held.move(network, tensor, indices)
        np.testing.assert_allclose(
            np.stack(found), maps(network, tensor, IMAGES[indices]), rtol=1e-4, atol=1e-5
        )
        assert feeds.times == times, tensor


def test_no_more_maps_are_held_than_fit(network: Network, proposals: list[Proposal]) -> None:
    assert chosen(1000, 10, 10_000, 0) == list(range(1000))
    some = chosen(1000, 10, 500, 0)
    assert len(some) == 50 and some == sorted(set(some)) and some != list(range(50))
    assert set(chosen(1000, 10, 200, 0)) < set(some), "smaller samples lie in larger ones"
    assert len(chosen(1000, 10, 1, 0)) == 8
    whole = slim(network, proposals[1:2], inputs(), RECIPE, 3)
    bound = LearnRecipe(epochs=2, batch=16, max_bytes=100_000)
    part = slim(network, proposals[1:2], inputs(), bound, 3)
    each = 4 * (3 * 32 * 32 + 6 * 16 * 16)
    picked = chosen(COUNT, each, 100_000, 3)
    assert len(picked) < 8 + 1
    expected = learn(
        proposals[1].block,
        IMAGES[picked],
        maps(network, "relu_1", IMAGES[picked]),
        bound,
        3,
    )
    assert part.parts[0].error == pytest.approx(expected.error, rel=1e-3)
    assert part.parts[0].error != whole.parts[0].error


def test_what_cannot_be_slimmed_is_said(network: Network, proposals: list[Proposal]) -> None:
    with pytest.raises(ModelError, match="at least 8 inputs to be learned, got 5; give more"):
        slim(network, proposals, inputs(IMAGES[:5]), RECIPE)
    with pytest.raises(ModelError, match="regions overlap"):
        slim(network, [*proposals, propose(network, "image", "relu_5", 5)], inputs(), RECIPE)
    with pytest.raises(ModelError, match=r"inputs must be float32 \(1, 3, 32, 32\)"):
        slim(network, proposals, inputs(IMAGES[:, :, :30]), RECIPE)
    broken = IMAGES.copy()
    broken[3] = np.nan
    with pytest.raises(ModelError, match="image to relu_1: inputs of a block hold NaN"):
        slim(network, proposals, inputs(broken), RECIPE)
    with pytest.raises(ModelError, match="inputs of a block hold NaN"):
        raise next(iter(learn_alone(network, proposals, inputs(broken), RECIPE)))[1]  # type: ignore[misc]
