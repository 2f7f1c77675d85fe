"""What is done in the other process; each takes a request and a way to ask the job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.files import watchdog
from trimtab.variants.isolation import Ask
from trimtab.variants.slimming.isolation.requests import (
    BuiltNetwork,
    LearnedBlock,
    Lesson,
    Proposals,
    Proposed,
    SlimmingSource,
)
from trimtab.variants.slimming.network.network import (
    Network,
    extract,
    read_network,
    region_nodes,
    write_network,
)
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules import propose
from trimtab.variants.slimming.slim import Step, alone_keys, learn_alone, slim
from trimtab.variants.slimming.training.cache import FolderCache
from trimtab.variants.slimming.training.distillation import Distilled, distill
from trimtab.variants.slimming.training.recipes import DistillRecipe, Learned, LearnRecipe
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx


class _JobsCache:
    """The cache of the job that asks."""

    def __init__(self, ask: Ask, folder: Path) -> None:
        self._ask, self._files = ask, FolderCache(folder)

    def get(self, key: str) -> bytes | None:
        return self._files.get(key) if self._ask({"get": key}) else None

    def put(self, key: str, value: bytes) -> None:
        self._files.put(key, value)
        self._ask({"put": key})


@lru_cache(maxsize=1)
def _proposed(source: SlimmingSource) -> tuple[Network, dict[str, Proposal]]:
    """Files of a store never change, so what was read last is there for the next step."""
    network = read_network(Path(source.path), source.size, source.name)
    watchdog.step()
    return network, {found.key: found for found in propose(network, source.rules)}


def find_proposals(request: Any, ask: Ask) -> Any:
    """The proposals of a network; what is to be timed is written into a folder."""
    source, folder = decode(SlimmingSource, request[0]), Path(request[1])
    network, proposals = _proposed(source)
    numbers = {node.output[0]: i for i, node in enumerate(network.model.graph.node)}

    def written(model: onnx.ModelProto) -> str:
        name = _shape_key(model)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        return name

    whole, found = written(network.model), []
    for proposal in proposals.values():
        watchdog.step()
        nodes = region_nodes(network, proposal.region)
        found.append(
            Proposed(
                proposal.key,
                proposal.rule,
                proposal.note,
                proposal.region,
                tuple(numbers[node.output[0]] for node in nodes),
                written(extract(network, proposal.region)),
                written(proposal.block),
            )
        )
    return encode(Proposals(whole, tuple(found)))


def learn_blocks(request: Any, ask: Ask) -> Any:
    """How blocks learned apart, or why they could not, by key."""
    source, lesson = decode(SlimmingSource, request[0]), decode(Lesson, request[2])
    network, proposals = _proposed(source)
    wanted = [proposals[key] for key in request[1]]
    cache, told = _JobsCache(ask, Path(request[3])), _steps(ask)
    recipe = LearnRecipe()
    found = learn_alone(network, wanted, lesson.inputs, recipe, lesson.seed, cache, told)
    return {
        proposal.key: str(result)
        if isinstance(result, ModelError)
        else encode(LearnedBlock(result.error_before, result.error, result.epochs))
        for proposal, result in found
    }


def learning_facts(request: Any, ask: Ask) -> Any:
    """Where blocks that are learned apart are kept, by proposal; and with how many threads blocks
    are learned in such a process: their last bits depend on it."""
    import torch

    source, lesson = decode(SlimmingSource, request[0]), decode(Lesson, request[2])
    network, proposals = _proposed(source)
    keys = list(request[1])
    kept = alone_keys(network, [proposals[key] for key in keys], lesson.inputs, lesson.seed)
    return {"kept": dict(zip(keys, kept, strict=True)), "threads": torch.get_num_threads()}


def build_network(request: Any, ask: Ask) -> Any:
    """Write a slimmed network, and tell how it was made."""
    source, lesson = decode(SlimmingSource, request[0]), decode(Lesson, request[2])
    again = decode(LearnRecipe, request[3][0])
    out, state = Path(request[4]), Path(request[5])
    network, proposals = _proposed(source)
    wanted = [proposals[key] for key in request[1]]
    cache, told, inputs = _JobsCache(ask, out.parent), _steps(ask), lesson.inputs
    apart = learn_alone(network, wanted, inputs, LearnRecipe(), lesson.seed, cache)
    alone = {p.key: result for p, result in apart if isinstance(result, Learned)}
    slimmed = slim(network, wanted, inputs, again, lesson.seed, cache, alone, told)
    taught, untaught, enough = None, None, False

    def teaching(epoch: int, epochs: int, error: float) -> None:
        nonlocal enough
        enough = ask({"taught": [epoch, epochs, error]})

    try:
        taught = distill(
            network,
            slimmed.model,
            inputs,
            decode(DistillRecipe, request[3][1]),
            lesson.seed,
            FolderCache(state),
            [part.region for part in slimmed.parts],
            teaching,
            lambda: enough,
        )
    except ModelError as error:
        untaught = str(error)
    write_network(taught.model if taught else slimmed.model, out)
    return encode(BuiltNetwork(slimmed.parts, _numbers(taught), untaught))


def _steps(ask: Ask) -> Callable[[Step], None]:
    return lambda step: ask({"step": vars(step)})


def _numbers(taught: Distilled | None) -> dict[str, float] | None:
    if taught is None:
        return None
    return {name: value for name, value in vars(taught).items() if name != "model"}


def _shape_key(model: onnx.ModelProto) -> str:
    """sha256 of what a model computes, whatever its tensors are called and its weights are."""
    import onnx

    graph = model.graph
    numbers: dict[str, int] = {}

    def number(name: str) -> str:
        return str(numbers.setdefault(name, len(numbers))) if name else ""

    bare = onnx.ModelProto()
    bare.opset_import.extend(model.opset_import)
    bare.graph.input.extend(graph.input)
    for value in bare.graph.input:
        value.name = number(value.name)
    for node in graph.node:
        copy = bare.graph.node.add()
        copy.CopyFrom(node)
        copy.name = ""
        for names in (copy.input, copy.output):
            names[:] = [number(name) for name in names]
    for tensor in sorted(graph.initializer, key=lambda t: numbers.get(t.name, -1)):
        said = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims)
        if tensor.data_type != onnx.TensorProto.FLOAT:  # sizes and axes, which are no weights
            said.CopyFrom(tensor)
        said.name = number(tensor.name)
        bare.graph.initializer.append(said)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
