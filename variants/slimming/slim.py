"""Slimming a network: blocks learned one after another, from the bottom up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from trimtab.variants.files.dataflow import needed_nodes
from trimtab.variants.slimming.network.network import Network, Region, plain_network, replace
from trimtab.variants.slimming.training.block import learn
from trimtab.variants.slimming.training.cache import (
    Cache,
    TrainingImages,
    key_of,
    model_key,
    pack,
    unpack,
)
from trimtab.variants.slimming.training.feature_maps import Activations, chosen, count_inputs
from trimtab.variants.slimming.training.recipes import Learned, LearnRecipe
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

    from trimtab.variants.slimming.proposal import Proposal


@dataclass(frozen=True)
class Step:
    """Where slimming stands: block `number` (from 1) of `blocks`, what it is, and the epoch of at
    most `epochs`; `error` is the block's on held-out inputs. Epoch 0 says that it begins."""

    number: int
    blocks: int
    note: str
    epoch: int
    epochs: int
    error: float


@dataclass(frozen=True)
class SlimmedPart:
    """One region that was replaced. Errors as in :class:`Learned`; `proposal` is the key of what
    was proposed, `key` that of what was learned."""

    rule: str
    region: Region
    note: str
    proposal: str
    key: str
    error_before: float
    error: float
    epochs: int


@dataclass(frozen=True)
class Slimmed:
    """A slimmed network and its lineage, the parts from the bottom up."""

    model: onnx.ModelProto
    parts: tuple[SlimmedPart, ...]
    recipe: LearnRecipe
    seed: int


def learn_alone(
    network: Network,
    proposals: Sequence[Proposal],
    inputs: TrainingImages,
    recipe: LearnRecipe | None = None,
    seed: int = 0,
    cache: Cache | None = None,
    progress: Callable[[Step], None] | None = None,
) -> Iterator[tuple[Proposal, Learned | ModelError]]:
    """Learn blocks apart, each on the original network's own feature maps; from the bottom up.

    A block's error says what replacing its region would lose, and its weights are a good start for
    :func:`slim`. Regions may overlap. A block that cannot be learned comes with the reason.
    Raises ModelError where there are too few inputs for any.
    """
    recipe = recipe or LearnRecipe()
    source, below, above = model_key(network.model), Activations(inputs), Activations(inputs)
    count = 0
    ordered = _in_order(network, proposals)
    for number, proposal in enumerate(ordered, 1):
        key = _alone_key(source, proposal, inputs, recipe, seed)
        learned = unpack(cache.get(key)) if cache is not None else None
        if learned is None:
            count = count or count_inputs(inputs)
            said = _Said(progress, number, len(ordered), proposal.note, recipe.epochs)
            try:
                learned = _learn(
                    network,
                    network,
                    below,
                    above,
                    proposal,
                    proposal.block,
                    count,
                    recipe,
                    seed,
                    said,
                )
            except ModelError as reason:
                yield proposal, reason
                continue
            if cache is not None:
                cache.put(key, pack(learned))
        yield proposal, learned


def alone_keys(
    network: Network, proposals: Sequence[Proposal], inputs: TrainingImages, seed: int = 0
) -> list[str]:
    """Where :func:`learn_alone` keeps what it learns of each proposal, by its usual recipe."""
    source = model_key(network.model)
    return [_alone_key(source, p, inputs, LearnRecipe(), seed) for p in proposals]


def slim(
    network: Network,
    proposals: Sequence[Proposal],
    inputs: TrainingImages,
    recipe: LearnRecipe | None = None,
    seed: int = 0,
    cache: Cache | None = None,
    alone: Mapping[str, Learned] | None = None,
    progress: Callable[[Step], None] | None = None,
) -> Slimmed:
    """Replace regions and learn their blocks, from the bottom up.

    The inputs of each block come from the network slimmed below it, its targets from the original
    network. `alone` has blocks to begin with by their proposals' keys (:func:`learn_alone`),
    for which a short recipe will do. Every learned block is kept in `cache` under what it depends
    on, so a killed run goes on, and combinations that agree below a block share it. The same
    arguments give the same bytes on the same machine with as many threads.

    (DeepRebirth, Li et al. 2018: layer-wise learning.)

    Raises ModelError when regions overlap, inputs are too few, or a block cannot be learned, which
    the message names.
    """
    recipe, alone = recipe or LearnRecipe(), alone or {}
    source, below, above = model_key(network.model), Activations(inputs), Activations(inputs)
    ordered = _in_order(network, proposals)
    replace(network, [(p.region, p.block) for p in ordered])  # says what does not fit
    count, present = 0, network
    done: list[tuple[Proposal, onnx.ModelProto, SlimmedPart]] = []
    for number, proposal in enumerate(ordered, 1):
        start = alone[proposal.key].block if proposal.key in alone else proposal.block
        lower = _lower(network, proposal, [part for *_, part in done])
        said = _said(source, proposal, start, inputs, recipe, seed)
        key = key_of(kind="slim", lower=lower, **said)
        learned = unpack(cache.get(key)) if cache is not None else None
        if learned is None:
            count = count or count_inputs(inputs)
            told = _Said(progress, number, len(ordered), proposal.note, recipe.epochs)
            learned = _learn(
                network, present, below, above, proposal, start, count, recipe, seed, told
            )
            if cache is not None:
                cache.put(key, pack(learned))
        part = SlimmedPart(
            proposal.rule,
            proposal.region,
            proposal.note,
            proposal.key,
            key,
            learned.error_before,
            learned.error,
            learned.epochs,
        )
        done.append((proposal, learned.block, part))
        present = plain_network(replace(network, [(p.region, b) for p, b, _ in done]))
    return Slimmed(present.model, tuple(part for *_, part in done), recipe, seed)


class _Said:
    """Tells a listener of one block's progress."""

    def __init__(
        self,
        listener: Callable[[Step], None] | None,
        number: int,
        blocks: int,
        note: str,
        epochs: int,
    ) -> None:
        self._listener, self._place = listener, (number, blocks, note)
        self(0, epochs, math.nan)

    def __call__(self, epoch: int, epochs: int, error: float) -> None:
        if self._listener is not None:
            self._listener(Step(*self._place, epoch, epochs, error))


def _learn(
    original: Network,
    present: Network,
    below: Activations,
    above: Activations,
    proposal: Proposal,
    start: onnx.ModelProto,
    count: int,
    recipe: LearnRecipe,
    seed: int,
    said: _Said,
) -> Learned:
    """Learn a block on maps of the network as it is below it, for the original's behind it."""
    region = proposal.region
    each = 4 * sum(math.prod(original.shapes[t]) for t in (region.start, region.end))
    indices = chosen(count, each, recipe.max_bytes, seed)
    try:
        maps = below.move(present, region.start, indices)
        targets = above.move(original, region.end, indices)
        return learn(start, maps, targets, recipe, seed, said)
    except ModelError as error:
        raise ModelError(f"{proposal.note}: {error}") from error


def _in_order(network: Network, proposals: Sequence[Proposal]) -> list[Proposal]:
    """From the bottom up; those of one region as they were given."""
    places = {name: i for i, node in enumerate(network.model.graph.node) for name in node.output}
    return sorted(
        proposals, key=lambda p: (places.get(p.region.end, -1), places.get(p.region.start, -1))
    )


def _lower(network: Network, proposal: Proposal, parts: Sequence[SlimmedPart]) -> list[str]:
    """Keys of the learned blocks that the proposal's input follows from."""
    needed = needed_nodes(network.model.graph, [proposal.region.start], [network.image])
    made = {name for node in needed for name in node.output}
    return [part.key for part in parts if part.region.end in made]


def _alone_key(
    source: str, proposal: Proposal, inputs: TrainingImages, recipe: LearnRecipe, seed: int
) -> str:
    return key_of(kind="alone", **_said(source, proposal, proposal.block, inputs, recipe, seed))


def _said(
    source: str,
    proposal: Proposal,
    start: onnx.ModelProto,
    inputs: TrainingImages,
    recipe: LearnRecipe,
    seed: int,
) -> dict[str, object]:
    """What a learned block depends on, beside the blocks below it."""
    return {
        "model": source,
        "region": [proposal.region.start, proposal.region.end],
        "block": model_key(start),
        "inputs": inputs.key,
        "recipe": asdict(recipe),
        "seed": seed,
    }
