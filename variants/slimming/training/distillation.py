"""The whole slimmed network taught by the original, end to end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.slimming.network.network import Network, Region, between, plain_network
from trimtab.variants.slimming.training.cache import Cache, TrainingImages, key_of, model_key
from trimtab.variants.slimming.training.feature_maps import (
    Map,
    chosen,
    count_inputs,
    open_session,
    run_all,
    some,
)
from trimtab.variants.slimming.training.recipes import DistillRecipe
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

    from trimtab.variants.slimming.training.loop import Progress, State
    from trimtab.variants.slimming.training.teacher import Lesson


@dataclass(frozen=True)
class Distilled:
    """A taught network. Errors are of the logits on held-out inputs: squared error by the
    original's variance around each class's mean (1 - R2), whatever the loss; `agreement` (0..1)
    is how often the two name the same class there."""

    model: onnx.ModelProto
    error_before: float
    error: float
    agreement_before: float
    agreement: float
    epochs: int


def distill(
    network: Network,
    model: onnx.ModelProto,
    inputs: TrainingImages,
    recipe: DistillRecipe | None = None,
    seed: int = 0,
    cache: Cache | None = None,
    new: Sequence[Region] = (),
    progress: Progress | None = None,
    enough: Callable[[], bool] | None = None,
) -> Distilled:
    """Teach all weights of the slimmed `model` to give the original network's logits.

    Of a network that ends in a Softmax the scores before it are matched. `new` are the regions
    that were replaced. After every epoch everything is kept in `cache`, so that a kill loses one
    epoch, and `enough` may end it. The same arguments and epochs give the same bytes on the same
    machine with as many threads; the best weights seen are kept, those that it came with included.

    Raises ModelError when there are fewer than 8 inputs, torch cannot run one of the networks,
    memory runs out, or learning gives NaN or diverges.
    """
    from trimtab.variants.slimming.torch_module.batch_norm import fold
    from trimtab.variants.slimming.training.loop import memory_said
    from trimtab.variants.slimming.training.teacher import Lesson, to_learn

    recipe = recipe or DistillRecipe()
    student = plain_network(model)
    module = to_learn(trunk(student))
    teacher = to_learn(trunk(network)) if recipe.asks_anew else None
    said = {"inputs": inputs.key, "recipe": asdict(recipe), "seed": seed}
    said |= {"new": [[r.start, r.end] for r in new]}
    key = key_of(
        kind="distill", teacher=model_key(network.model), student=model_key(model), **said
    )
    with memory_said("lower max_bytes or batch"):
        images, logits = _teach(network, inputs, recipe, seed)
        lesson = Lesson(module, teacher, images, logits, recipe, seed)
        error_before, agreement_before = lesson.measure()
        if recipe.normalise:
            lesson.normalise()
        state = _train(lesson, new, recipe, cache, key, progress, enough)
        fold(module)
        error, agreement = lesson.measure()
    learned = _with_end(student, module.to_onnx())
    return Distilled(learned, error_before, error, agreement_before, agreement, state.epoch)


def scores(network: Network) -> str:
    """The tensor of the logits: the output, or what a Softmax makes it of."""
    maker = network.makers[network.output]
    softmax = maker.op_type in ("Softmax", "LogSoftmax")
    return str(maker.input[0]) if softmax else network.output


def trunk(network: Network) -> onnx.ModelProto:
    """The network from the image to the logits; names stay."""
    end = scores(network)
    return between(network, network.image, end, (network.image, end))


def _with_end(network: Network, learned: onnx.ModelProto) -> onnx.ModelProto:
    """The learned trunk, with the Softmax that the network ends in."""
    end = scores(network)
    if end != network.output:
        learned.graph.node.append(network.makers[network.output])
        del learned.graph.output[:]
        learned.graph.output.extend(network.model.graph.output)
    return plain_network(learned).model


def _teach(
    network: Network, inputs: TrainingImages, recipe: DistillRecipe, seed: int
) -> tuple[list[Map], Map]:
    """A sample of the images that fits, and the original's logits (n, classes) of them."""
    each = 4 * math.prod(network.shapes[network.image])
    wanted = set(chosen(count_inputs(inputs), each, recipe.max_bytes, seed))
    images = [image for _, image in some(inputs, wanted, network)]
    session = open_session(between(network, network.image, scores(network)))
    logits = run_all(session, images)
    if not np.isfinite(logits).all():
        raise ModelError("the original gives NaN or infinity; there is nothing to learn from it")
    return images, logits.reshape(len(images), -1)


def _train(
    lesson: Lesson,
    new: Sequence[Region],
    recipe: DistillRecipe,
    cache: Cache | None,
    key: str,
    progress: Progress | None,
    enough: Callable[[], bool] | None,
) -> State:
    from trimtab.variants.slimming.training.checkpoint import pack_state, unpack_state
    from trimtab.variants.slimming.training.loop import Schedule, Task, train

    module = lesson.module
    fresh = tuple(f"{region.end}/" for region in new)
    named = module.learned_names()
    ids = {id(p) for name, p in named.items() if name.startswith(fresh)}
    apart: list[list[Any]] = [[], []]
    for parameter in module.parameters():
        apart[id(parameter) in ids].append(parameter)
    factors = (1.0, recipe.new_factor)
    groups = [(params, f) for params, f in zip(apart, factors, strict=True) if params]
    steps = -(-len(lesson.used) // recipe.batch)
    task = Task(module, groups, steps, lesson.losses, lesson.evaluate)
    schedule = Schedule(recipe.epochs, recipe.learning_rate, recipe.patience)
    if cache is None:
        return train(task, schedule, progress, enough=enough)
    known = unpack_state(cache.get(key), module)
    return train(task, schedule, progress, known, lambda s: cache.put(key, pack_state(s)), enough)
