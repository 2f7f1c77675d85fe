"""The blocks that could replace regions of a member: timed on the device, trained one by one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from trimtab.planner.cache.blocks import BlockCache
from trimtab.planner.cache.keys import images_key
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.candidates.measured import NothingToSlim
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.summary import SlimmingSummary
from trimtab.planner.techniques.slimming.ahead import learn_ahead
from trimtab.planner.techniques.slimming.timing import measured_savings
from trimtab.search.block_sets import Replacement
from trimtab.variants.slimming import (
    LearnedBlock,
    Lesson,
    Progress,
    Proposed,
    SlimmingSource,
    Step,
    learn_in_subprocess,
    propose_in_subprocess,
)

#: Blocks of one member that are learned, those that save most; so many at a time, most first.
_LEARNED, _AT_ONCE = 24, 6
#: Shares of a job's minutes, spread over its members: after the first, no further block of a
#: member is learned; after the second, teaching one variant of it ends with the epoch.
_BLOCKS, _TEACHING = 0.3, 0.1
#: Share of the network's time that a block must save to be looked at.
_LEAST = 0.005
#: Images of `fit` that blocks are learned from.
_IMAGES = 4000


@dataclass(frozen=True)
class Blocks:
    """What could be replaced in a network: `proposals` with what each saves and loses
    (`replacements`, in the same order), pairs of them that overlap, and the `lesson` that blocks
    were learned from."""

    source: SlimmingSource
    lesson: Lesson
    proposals: list[Proposed]
    replacements: list[Replacement]
    conflicts: set[tuple[int, int]]


def learn_blocks(
    job: JobContext,
    member: StoredVariant,
    threads: int,
    seed: int,
    known: SlimmingSummary,
    say: Callable[..., None],
) -> Blocks:
    """Time what the rules propose for a member on the device, and learn what saves time.

    `say` takes what the job's summary shall tell of it; `known` is what an earlier run of the job
    told. Raises NothingToSlim, or ModelError where the network cannot be slimmed.
    """
    if member.variant.format != "onnx":
        raise NothingToSlim("only ONNX models can be slimmed, not TFLite files")
    if member.variant.input.fit == "inside":
        raise NothingToSlim("its graph takes images of any size, which it resizes itself")
    variant, rules = member.variant, job.spec.techniques.slimming
    limit_s = job.spec.budget.stall_seconds
    source = SlimmingSource(str(member.path), variant.name, variant.input.size, rules, limit_s)
    job.journal.step("slim", f"{member.member}: timing regions", 0, 1)
    with tempfile.TemporaryDirectory(prefix="trimtab-race-") as folder:
        found = propose_in_subprocess(source, Path(folder), job.journal.alive)
        if not found.found:
            raise NothingToSlim("no slimming rule matches a region of it")
        whole, savings = measured_savings(job, member, found, Path(folder), threads)
    proposals = found.found
    saved = dict(zip((p.key for p in proposals), savings, strict=True))
    worth = [p for p in proposals if saved[p.key] >= _LEAST * whole]
    say(whole_ms=whole, proposals=len(proposals), saving=len(worth))
    if not worth:
        raise NothingToSlim(
            f"none of the {len(proposals)} proposed blocks saves {_LEAST:.1%} of the network's "
            "time on this device"
        )
    worth = sorted(worth, key=lambda p: -saved[p.key])[: known.get("tried", _LEARNED)]
    lesson = _lesson(job, member, seed)
    tried, learned = _learn(job, member, source, worth, lesson, "tried" in known)
    say(tried=tried)
    kept = [proposal for proposal in worth if proposal.key in learned]
    if not kept:
        raise NothingToSlim("no block that saves time could be trained; see the log")
    regions = list(dict.fromkeys(proposal.region for proposal in kept))
    replacements = [
        Replacement(regions.index(p.region), saved[p.key], max(learned[p.key].error, 0.0))
        for p in kept
    ]
    said = [
        {"rule": p.rule, "note": p.note, "saved_ms": r.saved_ms, "error": r.error}
        for p, r in zip(kept, replacements, strict=True)
    ]
    say(blocks=said)
    conflicts = {
        (a, b)
        for a, b in combinations(range(len(kept)), 2)
        if not set(kept[a].nodes).isdisjoint(kept[b].nodes)
    }
    return Blocks(source, lesson, kept, replacements, conflicts)


def deadline(job: JobContext, share: float = _TEACHING) -> Callable[[], bool]:
    """Tells whether a member's part of that `share` of the job's minutes is over, from now on."""
    began, minutes = time.monotonic(), job.spec.budget.minutes
    seconds = None if minutes is None else 60 * minutes * share / len(job.spec.models)
    return lambda: seconds is not None and time.monotonic() - began > seconds


def progress_of(job: JobContext, label: str) -> Callable[[Step], None]:
    """Passes the progress of learning to the job's journal."""

    def told(step: Step) -> None:
        done = step.number - 1 + step.epoch / max(step.epochs, 1)
        job.journal.step("slim", f"{label}: {step.note}", done, step.blocks)

    return told


def _lesson(job: JobContext, member: StoredVariant, seed: int) -> Lesson:
    """Images of `fit`, preprocessed as the member takes them."""
    items = [job.workload.items[index] for index in job.splits.fit[:_IMAGES]]
    images = tuple(str(item.path.absolute()) for item in items)
    return Lesson(images, member.variant.input, images_key(items), seed)


def _learn(
    job: JobContext,
    member: StoredVariant,
    source: SlimmingSource,
    worth: list[Proposed],
    lesson: Lesson,
    again: bool,
) -> tuple[int, dict[str, LearnedBlock]]:
    """How many blocks were tried, the most worthwhile first, and those that were learned on the
    original's feature maps; one that cannot be is logged. Nothing more is begun when the time is
    over, unless a run before did all of it and it is looked up `again`."""
    over = deadline(job, _BLOCKS)
    cache, journal = BlockCache(job.store, member), job.journal
    told = Progress(progress_of(job, f"{member.member} learning"), journal.alive)
    learned: dict[str, LearnedBlock] = {}
    ahead: dict[str, str | None] = {}
    if job.executor.place is not None and not again:
        ahead = learn_ahead(job, member, source, worth, lesson, cache, over)
    for start in range(0, len(worth), _AT_ONCE):
        batch = [proposal.key for proposal in worth[start : start + _AT_ONCE]]
        if not again and over() and not ahead.keys() >= set(batch):
            text = (
                f"{start} of {len(worth)} blocks were trained within its part of the budget "
                f"({_BLOCKS:.0%} for the blocks of all members)"
            )
            journal.note("info", member.member, text)
            return start, learned
        refused = {key: reason for key in batch if (reason := ahead.get(key))}
        some = [key for key in batch if key not in refused]
        with tempfile.TemporaryDirectory(prefix="trimtab-learn-") as folder:
            found = learn_in_subprocess(source, some, lesson, Path(folder), cache, told)
        for key, result in (found | refused).items():
            if isinstance(result, str):
                journal.note("warning", member.member, f"left out: {result}")
            else:
                learned[key] = result
    return len(worth), learned
