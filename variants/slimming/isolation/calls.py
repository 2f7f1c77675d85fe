"""What a job calls: the networks themselves stay on the other side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.variants.execution import Work
from trimtab.variants.isolation import Ask, call
from trimtab.variants.slimming.isolation import steps
from trimtab.variants.slimming.isolation.requests import (
    BuiltNetwork,
    LearnedBlock,
    Lesson,
    Proposals,
    SlimmingSource,
)
from trimtab.variants.slimming.slim import Step
from trimtab.variants.slimming.training.cache import Cache, FolderCache
from trimtab.variants.slimming.training.recipes import DistillRecipe, LearnRecipe
from trimtab_runtime.codec import decode, encode


@dataclass(frozen=True)
class Progress:
    """Who is told of learning: `step` of blocks; `teaching` (epoch, epochs, error) of the whole
    network, which `enough` may end after each epoch; `waiting` is called about once a second."""

    step: Callable[[Step], None]
    waiting: Callable[[], None]
    teaching: Callable[[int, int, float], None] = lambda epoch, epochs, error: None
    enough: Callable[[], bool] = lambda: False


def propose_in_subprocess(
    source: SlimmingSource, folder: Path, waiting: Callable[[], None] | None = None
) -> Proposals:
    """What the rules propose, with the files that are to be timed in `folder` (`NAME.onnx`).

    Raises ModelError where the network cannot be slimmed, where a step takes too long, crashes,
    or takes more memory than it may; so do the other functions here.
    """
    asked = [encode(source), str(folder.absolute())]
    return decode(
        Proposals, call(steps.find_proposals, source.name, asked, source.limits, waiting=waiting)
    )


def learn_in_subprocess(
    source: SlimmingSource,
    keys: Sequence[str],
    lesson: Lesson,
    folder: Path,
    cache: Cache,
    progress: Progress,
) -> dict[str, LearnedBlock | str]:
    """Learn the blocks of the proposals with these keys apart, from the bottom up: how each did,
    or why it could not be learned. What was learned goes by `folder` to and from the `cache`."""
    asked = [encode(source), list(keys), encode(lesson), str(folder.absolute())]
    told = _call(steps.learn_blocks, source, asked, folder, cache, progress)
    return learned_blocks(told)


def learned_blocks(told: Mapping[str, Any]) -> dict[str, LearnedBlock | str]:
    """What a step that learns blocks answers: how each did, or why it could not be learned."""
    return {
        key: found if isinstance(found, str) else decode(LearnedBlock, found)
        for key, found in told.items()
    }


def learning_facts_in_subprocess(
    source: SlimmingSource, keys: Sequence[str], lesson: Lesson, waiting: Callable[[], None]
) -> tuple[dict[str, str], int]:
    """The key under which each block is kept once it was learned apart; and the number of threads
    that blocks are learned with on this machine."""
    asked = [encode(source), list(keys), encode(lesson)]
    told = call(steps.learning_facts, source.name, asked, source.limits, waiting=waiting)
    return told["kept"], told["threads"]


def learning_work(
    source: SlimmingSource, key: str, lesson: Lesson, folder: Path, threads: int
) -> Work:
    """The learning of one block apart as a step for an executor: the block lies in `folder` then,
    named by its key; :func:`learned_blocks` reads the answer."""
    asked = [encode(source), [key], encode(lesson), str(folder.absolute())]
    images = tuple(Path(image) for image in lesson.images)
    inputs = ((Path(source.path),), images)
    return Work(
        steps.learn_blocks, source.name, asked, inputs, folder.absolute(), source.limits, threads
    )


def build_in_subprocess(
    source: SlimmingSource,
    keys: Sequence[str],
    lesson: Lesson,
    recipes: tuple[LearnRecipe, DistillRecipe],
    out: Path,
    state: Path,
    cache: Cache,
    progress: Progress,
) -> BuiltNetwork:
    """Write `out`: the network with the blocks of the proposals with these keys, learned again in
    their places and then taught end to end, by these recipes. `state` is the folder where teaching
    has come to, from which it goes on."""
    places = [str(path.absolute()) for path in (out, state)]
    asked = [encode(source), list(keys), encode(lesson), encode(list(recipes)), *places]
    return decode(
        BuiltNetwork, _call(steps.build_network, source, asked, out.parent, cache, progress)
    )


def _call(
    task: Callable[[Any, Ask], Any],
    source: SlimmingSource,
    asked: Any,
    folder: Path,
    cache: Cache,
    progress: Progress,
) -> Any:
    def answer(said: Mapping[str, Any]) -> Any:
        ((what, value),) = said.items()
        if what == "get":
            found = cache.get(value)
            if found is not None:
                FolderCache(folder).put(value, found)
            return found is not None
        if what == "put":
            return cache.put(value, (folder / value).read_bytes())
        if what == "step":
            return progress.step(Step(**value))
        progress.teaching(*value)
        return progress.enough()

    return call(
        task, source.name, asked, source.limits, answering=answer, waiting=progress.waiting
    )
