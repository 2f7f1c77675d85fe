"""Does every image decode, and which of them look alike?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from trimtab.workloads.images.near_duplicates import (
    MAX_CHAIN,
    Look,
    alike_pairs,
    longest_chain,
    look_of,
)
from trimtab.workloads.images.text import first_few
from trimtab.workloads.workload import Item, Workload
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import decode_image

#: Chains of at most so many images are never too long, however few images there are.
_SHORT_CHAIN = 8
_KNOWN: dict[str, Look] = {}  # by sha256, for the life of the process


def checked_images(
    workload: Workload,
    unreadable: float = 0.0,
    near_duplicates: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Workload:
    """The workload without images that cannot be read, and with pairs that look alike (`alike`).

    Every image is decoded, once in a process; `progress` is told how many of how many were.
    `unreadable` is the share of all images that may be left out so. Notices tell of what was left
    out, of pairs, and of pairs whose labels differ.
    Raises one WorkloadError that tells how many cannot be read, and why for the first few.
    """
    # Pillow decodes outside the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = []
        for look in pool.map(_look_or_reason, workload.items):
            found.append(look)
            progress(len(found), len(workload))
    workload = _readable(workload, found, unreadable)
    shapes = Counter(look.size for look in found if isinstance(look, Look))
    workload = replace(workload, shapes=shapes)
    if not near_duplicates:
        return workload
    looks = [look for look in found if isinstance(look, Look)]
    first: dict[str, int] = {}
    copies = []
    for index, item in enumerate(workload.items):
        if first.setdefault(item.sha256, index) != index:
            copies.append((first[item.sha256], index))
    own = list(first.values())
    seen, most = [looks[index] for index in own], max(_SHORT_CHAIN, MAX_CHAIN * len(own))
    pairs = alike_pairs(seen)
    if pairs is not None and longest_chain(pairs, len(own)) <= most:
        # Of two classes, as arrows to the left and right, they are no copies.
        mirrors = alike_pairs(seen, mirrored=True) or []
        labels = [workload.items[index].label for index in own]
        more = sorted({*pairs, *((a, b) for a, b in mirrors if labels[a] == labels[b])})
        pairs = more if longest_chain(more, len(own)) <= most else pairs
    if pairs is None or longest_chain(pairs, len(own)) > most:
        notices = [
            "very many images look alike, one like the next, as frames of a fixed camera do: "
            "they are split as if each showed something else; say which belong together by a "
            "group (workload.splits.group)"
        ]
        pairs = []
    else:
        notices = []
    named = sorted([*copies, *((own[a], own[b]) for a, b in pairs)])
    notices += _told(workload, named)
    return replace(workload, alike=tuple(named), notices=(*workload.notices, *notices))


def _look_or_reason(item: Item) -> Look | str:
    if item.sha256 not in _KNOWN:
        try:
            _KNOWN[item.sha256] = look_of(decode_image(str(item.path)))
        except WorkloadError as error:
            return str(error)
    return _KNOWN[item.sha256]


def _readable(workload: Workload, found: Sequence[Look | str], allowed: float) -> Workload:
    reasons = [*workload.unreadable, *(reason for reason in found if isinstance(reason, str))]
    if not reasons:
        return workload
    images = len(workload) + len(workload.unreadable)
    if len(reasons) > allowed * images:
        raise WorkloadError(
            f"{len(reasons)} of {images} image(s) cannot be read, and {allowed:g} of them may; "
            f"replace or remove them, or raise workload.unreadable: {first_few(reasons)}"
        )
    told = f"{len(reasons)} of {images} image(s) cannot be read and are left out: "
    items = [i for i, look in zip(workload.items, found, strict=True) if isinstance(look, Look)]
    return replace(
        workload,
        items=tuple(items),
        unreadable=tuple(reasons),
        notices=(*workload.notices, told + first_few(reasons)),
    )


def _told(workload: Workload, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """What to say of pairs that look alike, and of those among them that disagree."""
    if not pairs:
        return []
    items = workload.items
    named = [(items[first], items[second]) for first, second in pairs]
    apart = [pair for pair in named if pair[0].label != pair[1].label]
    kept = "may part, as groups were named"
    if all(item.group is None for item in items):
        kept = "stay in one split"
    told = [f"{len(pairs)} pair(s) of images look alike and {kept}: {_few(named)}"]
    if apart:
        told.append(
            f"{len(apart)} pair(s) of images look alike and have different labels; look whether "
            f"one of the two is wrong: {_few(apart)}"
        )
    return told


def _few(pairs: Sequence[tuple[Item, Item]]) -> str:
    return first_few([f"{first.name} = {second.name}" for first, second in pairs])
