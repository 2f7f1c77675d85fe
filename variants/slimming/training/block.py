"""Learning one block: its output is to be the original feature map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.files.watchdog import step
from trimtab.variants.slimming.network.splicing import block_shapes
from trimtab.variants.slimming.training.batches import FEWEST, Maps, batch_of, held_out, parts_of
from trimtab.variants.slimming.training.recipes import Learned, LearnRecipe
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import torch

    from trimtab.variants.slimming.training.loop import Progress


def learn(
    block: onnx.ModelProto,
    inputs: Maps,
    targets: Maps,
    recipe: LearnRecipe | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Learned:
    """Learn a block so that it makes `targets` (n, ...) of `inputs` (n, ...), float32.

    The same arguments give the same weights on the same machine with as many threads. The best
    weights seen are kept, those that the block came with included, so the error never grows.
    `progress` is called after every epoch with its number, the most there may be, and the error.

    (Layer-wise learning of DeepRebirth, Li et al. 2018: the target is the original network's
    feature map at the same place.)

    Raises ModelError when there are fewer than 8 inputs, shapes do not fit, values are not finite,
    the block cannot be run by torch, memory runs out, or learning gives NaN or diverges.
    """
    from trimtab.variants.slimming.torch_module.module import OnnxModule
    from trimtab.variants.slimming.training.loop import memory_said

    recipe = recipe or LearnRecipe()
    module = OnnxModule(block)
    with memory_said("lower max_bytes or batch"):
        _check(block, inputs, targets)
        return _learned(block, module, inputs, targets, recipe, seed, progress)


def _learned(
    block: onnx.ModelProto,
    module: Any,
    inputs: Maps,
    targets: Maps,
    recipe: LearnRecipe,
    seed: int,
    progress: Progress | None,
) -> Learned:
    from torch.nn import functional

    from trimtab.variants.slimming.training.least_squares import solve_last
    from trimtab.variants.slimming.training.loop import (
        Schedule,
        Task,
        set_weights,
        train,
        weights_of,
    )

    used, held = held_out(len(inputs), recipe.held_out, seed)
    scale = _variance(targets, held)

    def losses(epoch: int) -> Iterator[torch.Tensor]:
        order = np.random.default_rng([seed, epoch]).permutation(used)
        for part in parts_of(order, recipe.batch):
            made = module(batch_of(inputs, part))
            yield functional.mse_loss(made, batch_of(targets, part)) / scale

    def evaluate() -> float:
        return _squared_error(module, inputs, targets, held, recipe.batch) / scale

    before = evaluate()
    if not list(module.parameters()):
        return Learned(block, before, before, 0)
    if recipe.solve:
        weights = weights_of(module)
        solve_last(module, inputs, targets, used)
        if not evaluate() < before:
            set_weights(module, weights)
    task = Task(
        module, [(list(module.parameters()), 1.0)], -(-len(used) // recipe.batch), losses, evaluate
    )
    schedule = Schedule(recipe.epochs, recipe.learning_rate, recipe.patience)
    state = train(task, schedule, progress)
    return Learned(module.to_onnx(), before, state.best_error, state.epoch)


def _squared_error(
    module: Any, inputs: Maps, targets: Maps, indices: NDArray[np.int64], batch: int
) -> float:
    """Mean squared error on these inputs."""
    import torch

    total, count = 0.0, 0
    module.eval()
    with torch.no_grad():
        for part in parts_of(indices, batch):
            step()
            wanted = batch_of(targets, part)
            total += float(
                (module(batch_of(inputs, part)) - wanted).square().sum(dtype=torch.float64)
            )
            count += wanted.numel()
    return total / count


def _variance(targets: Maps, indices: NDArray[np.int64]) -> float:
    """Mean of the channels' variances, over these inputs; a constant target counts as 1e-12."""
    sums, squares, count = 0.0, 0.0, 0
    for index in indices:
        flat = np.asarray(targets[index], np.float64)
        flat = flat.reshape(len(flat), -1)
        sums, squares = sums + flat.sum(1), squares + np.square(flat).sum(1)
        count += flat.shape[1]
    return max(float(np.mean(squares / count - np.square(sums / count))), 1e-12)


def _check(block: onnx.ModelProto, inputs: Maps, targets: Maps) -> None:
    if len(inputs) != len(targets):
        raise ModelError(f"{len(inputs)} inputs and {len(targets)} targets; there must be as many")
    if len(inputs) < FEWEST:
        raise ModelError(
            f"a block needs at least {FEWEST} inputs to be learned, got {len(inputs)}; give more "
            "in `fit`"
        )
    shapes = block_shapes(block)
    for name, maps, shape in zip(("inputs", "targets"), (inputs, targets), shapes, strict=True):
        if {np.shape(one) for one in maps} != {shape[1:]}:
            raise ModelError(f"{name} of a block must be {shape[1:]}, got {np.shape(maps[0])}")
        if not all(np.isfinite(one).all() for one in maps):
            raise ModelError(f"{name} of a block hold NaN or infinity; look at the model")
