"""Blocks that a cluster learns, all at once, before they are looked up one after another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from trimtab.planner.cache.blocks import BlockCache
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.jobs.context import JobContext
from trimtab.variants.slimming import (
    Lesson,
    Proposed,
    SlimmingSource,
    learned_blocks,
    learning_facts_in_subprocess,
    learning_work,
)
from trimtab_runtime.errors import TrimtabError


def learn_ahead(
    job: JobContext,
    member: StoredVariant,
    source: SlimmingSource,
    worth: Sequence[Proposed],
    lesson: Lesson,
    cache: BlockCache,
    over: Callable[[], bool],
) -> dict[str, str | None]:
    """Learn blocks that the `cache` lacks, each as a step of its own; nothing more is begun when
    the time is `over`. By the key of their proposal, those that were tried, now or before: why
    they cannot be learned, or None."""
    journal, label = job.journal, f"{member.member} on the cluster"
    keys = [proposal.key for proposal in worth]
    kept, threads = learning_facts_in_subprocess(source, keys, lesson, journal.alive)
    missing = [key for key in keys if cache.get(kept[key]) is None]
    tried: dict[str, str | None] = dict.fromkeys(set(keys) - set(missing))
    with tempfile.TemporaryDirectory(prefix="trimtab-learn-") as place:
        folders = [Path(place) / key for key in missing]
        works = []
        for key, folder in zip(missing, folders, strict=True):
            folder.mkdir()
            works.append(learning_work(source, key, lesson, folder, threads))
        journal.step("slim", label, 0, max(len(works), 1))
        for done, (number, told) in enumerate(job.executor.run(works, journal.alive, over), 1):
            key = missing[number]
            found = str(told) if isinstance(told, TrimtabError) else learned_blocks(told)[key]
            tried[key] = found if isinstance(found, str) else None
            for made in folders[number].iterdir():
                cache.put(made.name, made.read_bytes())
            journal.step("slim", label, done, len(works))
    return tried
