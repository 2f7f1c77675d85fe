"""Learning one block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from sample_blocks import conv_block, make_block, normal, run_model, weights_of

from trimtab.variants.slimming import LearnRecipe, learn
from trimtab_runtime.errors import ModelError

Array = np.ndarray[Any, np.dtype[Any]]
START, END = (1, 4, 8, 8), (1, 6, 4, 4)
INPUTS = normal(60, *START[1:], seed=5)


def known(**said: Any) -> tuple[onnx.ModelProto, Array]:
    """A block, and what it makes of INPUTS."""
    block = conv_block(START, END, seed=1, **said)
    return block, run_model(block, INPUTS)


def error_of(block: onnx.ModelProto, inputs: Array, targets: Array) -> float:
    spread = targets.transpose(0, 2, 3, 1).reshape(-1, targets.shape[1]).var(0).mean()
    return float(np.square(run_model(block, inputs) - targets).mean() / spread)


def deep_block(seed: int) -> onnx.ModelProto:
    """Two convolutions, so that least squares alone does not do it."""
    weights = {
        "v": normal(6, 4, 3, 3, seed=seed, scale=0.2),
        "w": normal(6, 6, 3, 3, seed=seed + 1, scale=0.2),
    }
    nodes = [
        helper.make_node("Conv", ["input", "v"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["c"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["output"]),
    ]
    return make_block(nodes, weights, START, END)


def test_a_block_finds_the_weights_that_made_its_target() -> None:
    block, targets = known()
    learned = learn(conv_block(START, END, seed=9), INPUTS, targets)
    assert learned.error < 5e-4 < 0.5 < learned.error_before
    found, wanted = weights_of(learned.block), weights_of(block)
    np.testing.assert_allclose(found["w"], wanted["w"], atol=0.05)
    np.testing.assert_allclose(found["b"], wanted["b"], atol=0.05)
    fresh = normal(20, *START[1:], seed=77)
    assert error_of(learned.block, fresh, run_model(block, fresh)) < 1e-3


def test_behind_a_pooling_the_height_of_each_map_is_found_at_once() -> None:
    def block(height: Array) -> onnx.ModelProto:
        weights = {"w": normal(6, 4, 3, 3, seed=1, scale=0.2), "b": normal(6, seed=2, scale=0.1)}
        weights = {"w": weights["w"] * height[:, None, None, None], "b": weights["b"] * height}
        nodes = [
            helper.make_node("Conv", ["input", "w", "b"], ["a"], pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["r"]),
            helper.make_node(
                "MaxPool", ["r"], ["output"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
            ),
        ]
        return make_block(nodes, weights, START, END)

    heights = np.array([0.1, 0.5, 1, 2, 3, 9], np.float32)
    targets = run_model(block(heights), INPUTS)
    recipe = LearnRecipe(epochs=1, learning_rate=1e-6)
    found = learn(block(np.ones(6, np.float32)), INPUTS, targets, recipe)
    assert found.error < 1e-6 < 0.5 < found.error_before


@pytest.mark.parametrize("groups", [1, 2])
def test_least_squares_start_where_gradients_would_take_long(groups: int) -> None:
    _, targets = known(groups=groups)
    fresh = conv_block(START, END, seed=9, groups=groups)
    recipe = LearnRecipe(epochs=1, learning_rate=1e-6)
    solved = learn(fresh, INPUTS, targets, recipe).error
    untouched = learn(
        fresh, INPUTS, targets, LearnRecipe(epochs=1, learning_rate=1e-6, solve=False)
    )
    assert solved < 0.01 < 0.5 < untouched.error
    assert untouched.error_before == learn(fresh, INPUTS, targets, recipe).error_before


def test_least_squares_reach_behind_joins_and_bounds() -> None:
    """Branches that end in a Clip and a Concat, as in an Inception block."""

    def branches(seed: int) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Conv", ["input", "w1"], ["a"], strides=[2, 2]),
            helper.make_node("Conv", ["input", "w3"], ["b"], strides=[2, 2], pads=[1] * 4),
            helper.make_node("Relu", ["b"], ["r"]),
            helper.make_node("Concat", ["a", "r"], ["j"], axis=1),
            helper.make_node("Clip", ["j", "low", "high"], ["output"]),
        ]
        weights = {
            "w1": normal(2, 4, 1, 1, seed=seed, scale=0.5),
            "w3": normal(4, 4, 3, 3, seed=seed + 1, scale=0.2),
            "low": np.float32(-0.3),
            "high": np.float32(0.7),
        }
        return make_block(nodes, weights, START, END)

    targets = run_model(branches(1), INPUTS)
    assert targets.min() == np.float32(-0.3) and targets.max() == np.float32(0.7)
    recipe = LearnRecipe(epochs=1, learning_rate=1e-6)
    assert learn(branches(20), INPUTS, targets, recipe).error < 0.02


def test_least_squares_leave_a_shortcut_its_share() -> None:
    def residual(seed: int) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Conv", ["input", "w", "b"], ["c"], pads=[0, 1, 2, 1]),
            helper.make_node("Add", ["c", "input"], ["s"]),
            helper.make_node("Relu", ["s"], ["output"]),
        ]
        weights = {"w": normal(4, 4, 3, 3, seed=seed, scale=0.3), "b": normal(4, seed=seed)}
        return make_block(nodes, weights, START, START)

    targets = run_model(residual(1), INPUTS)
    recipe = LearnRecipe(epochs=1, learning_rate=1e-6)
    learned = learn(residual(20), INPUTS, targets, recipe)
    assert learned.error < 1e-3 < 0.3 < learned.error_before
    found, wanted = weights_of(learned.block), weights_of(residual(1))
    np.testing.assert_allclose(found["w"], wanted["w"], atol=0.05)


@pytest.mark.slow
def test_what_least_squares_cannot_do_is_learned_by_gradients() -> None:
    targets = run_model(deep_block(1), INPUTS)
    solved = learn(deep_block(30), INPUTS, targets, LearnRecipe(epochs=1, learning_rate=1e-6))
    recipe = LearnRecipe(epochs=40, batch=8, learning_rate=1e-2, patience=10)
    learned = learn(deep_block(30), INPUTS, targets, recipe)
    assert learned.error < 0.8 * solved.error < solved.error_before
    assert 1 <= learned.epochs <= 40


def test_errors_are_one_minus_r2_on_inputs_that_were_held_out() -> None:
    """A block that gives each channel's mean has an error of 1; a share of the inputs that is
    pure noise, and alone held out, must show."""
    _, targets = known()
    means = targets.mean((0, 2, 3))
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["output"], strides=[2, 2]),
    ]
    weights = {"w": np.zeros((6, 4, 1, 1), np.float32), "b": means}
    block = make_block(nodes, weights, START, END)
    learned = learn(block, INPUTS, targets, LearnRecipe(held_out=0.5, solve=False, epochs=1))
    assert learned.error_before == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(
        [learn(b, INPUTS, targets, LearnRecipe(epochs=2)).error_before for b in [learned.block]],
        [learn(learned.block, INPUTS, targets, LearnRecipe(epochs=1)).error_before],
    )
    noise = normal(*targets.shape, seed=3)
    fitted = learn(conv_block(START, END), INPUTS, noise, LearnRecipe(epochs=5))
    assert fitted.error > 0.9, "noise cannot be predicted; only what was learned on can be fitted"


def test_the_same_seed_gives_the_same_bytes() -> None:
    targets = run_model(deep_block(1), INPUTS)
    recipe = LearnRecipe(epochs=3)
    first, again, other = (
        learn(deep_block(30), INPUTS, targets, recipe, seed) for seed in (1, 1, 2)
    )
    assert first.block.SerializeToString() == again.block.SerializeToString()
    assert (first.error, first.epochs) == (again.error, again.epochs)
    assert first.block.SerializeToString() != other.block.SerializeToString()


def test_a_list_of_maps_is_as_good_as_an_array() -> None:
    _, targets = known()
    recipe = LearnRecipe(epochs=2)
    blocks = [
        learn(conv_block(START, END, seed=9), *maps, recipe).block.SerializeToString()
        for maps in ((INPUTS, targets), (list(INPUTS), list(targets)))
    ]
    assert blocks[0] == blocks[1]


def test_a_block_without_weights_is_measured() -> None:
    nodes = [helper.make_node("MaxPool", ["input"], ["output"], kernel_shape=[1, 1])]
    block = make_block(nodes, {}, START, START)
    learned = learn(block, INPUTS, 2 * INPUTS)
    assert learned.error == learned.error_before == pytest.approx(0.25, rel=0.05)
    assert learned.epochs == 0 and learned.block == block


def test_channels_that_say_nothing_do_no_harm() -> None:
    """Dead and repeated channels leave the least squares without a single solution."""
    block, _ = known()
    images = INPUTS * np.array([0, 1, 1, 1e3], np.float32)[:, None, None]
    images[:, 2] = images[:, 1]
    targets = run_model(block, images)
    learned = learn(conv_block(START, END, seed=9), images, targets)
    assert learned.error < 0.01
    assert all(np.isfinite(value).all() for value in weights_of(learned.block).values())


def test_maps_may_lie_in_memory_as_they_like() -> None:
    """Backward through a strided 1x1 Conv of maps whose channels lie together ends the process
    in torch 2.13; and the order must not show in the weights."""
    images = normal(20, 9, 9, 3)
    block = conv_block((1, 3, 9, 9), (1, 6, 5, 5), 1)
    targets = normal(20, 6, 5, 5)
    together = images.transpose(0, 3, 1, 2)
    blocks = [
        learn(block, maps, targets, LearnRecipe(epochs=5)).block.SerializeToString()
        for maps in (together, np.ascontiguousarray(together), list(together))
    ]
    assert len(set(blocks)) == 1


def test_a_block_never_gets_worse() -> None:
    block, targets = known()
    told: list[tuple[int, int, float]] = []
    recipe = LearnRecipe(epochs=20, learning_rate=0.05, patience=3, batch=8)
    learned = learn(block, INPUTS, targets, recipe, progress=lambda *said: told.append(said))
    assert learned.error <= learned.error_before < 1e-6 < max(error for *_, error in told)
    assert [t[:2] for t in told] == [(n, 20) for n in range(1, learned.epochs + 1)]
    assert learned.epochs < 10, "it stops where nothing gets better"
    np.testing.assert_allclose(run_model(learned.block, INPUTS), targets, atol=1e-3)


class Greedy(Sequence[Array]):
    """Maps of which none fits into memory."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: Any) -> Any:
        raise MemoryError("no")


def exponential(scale: float) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], strides=[2, 2]),
        helper.make_node("Exp", ["c"], ["output"]),
    ]
    weights = {"w": normal(6, 4, 1, 1, scale=scale)}
    return make_block(nodes, weights, START, END)


def test_what_goes_wrong_is_said() -> None:
    block, targets = known()
    steep = LearnRecipe(learning_rate=0.9, epochs=50, patience=50, batch=4)
    with pytest.raises(ModelError, match=r"gave NaN at epoch \d+; lower the learning rate \(0.9"):
        learn(exponential(0.1), 30 * INPUTS, targets, steep)
    with pytest.raises(ModelError, match=r"diverges: .* at epoch \d+; lower the learning rate"):
        learn(exponential(0.1), 4 * INPUTS, targets, steep)
    with pytest.raises(ModelError, match="at least 8 inputs to be learned, got 7"):
        learn(block, INPUTS[:7], targets[:7])
    with pytest.raises(ModelError, match="60 inputs and 59 targets"):
        learn(block, INPUTS, targets[:59])
    with pytest.raises(ModelError, match="targets of a block hold NaN"):
        learn(block, INPUTS, np.where(targets > 1, np.nan, targets).astype(np.float32))
    with pytest.raises(ModelError, match="ran out of memory; lower max_bytes"):
        learn(block, Greedy(), targets)
    with pytest.raises(ModelError, match=r"inputs .* must be \(4, 8, 8\), got \(3, 8, 8\)"):
        learn(block, INPUTS[:, :3], targets)
    with pytest.raises(ModelError, match=r"targets of a block must be \(6, 4, 4\)"):
        learn(block, INPUTS, targets[:, :5])


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"held_out": 0.0},
        {"held_out": 0.6},
        {"max_bytes": 0},
        {"patience": 0},
    ],
)
def test_recipes_hold_their_rules(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        LearnRecipe(**wrong)
