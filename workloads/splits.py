"""fit, tune and test: disjoint, seeded, stratified, and no object in two of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.workloads.streams.shuffling import rank
from trimtab.workloads.workload import Workload, read_only
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import WorkloadError

SPLIT_NAMES = ("fit", "tune", "test")


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices into a workload's items, three disjoint read-only int64 arrays.

    They stand in an order of which every stretch is stratified: a prefix is a fair sample.
    `asked` are the sizes that were wanted; with groups, those of the arrays may differ.
    """

    fit: NDArray[np.int64]
    tune: NDArray[np.int64]
    test: NDArray[np.int64]
    asked: tuple[int, int, int]
    seed: int

    @property
    def sizes(self) -> dict[str, int]:
        """Images in each split."""
        return {name: len(getattr(self, name)) for name in SPLIT_NAMES}

    @cached_property
    def key(self) -> str:
        """sha256 of the three index arrays."""
        return content_key({name: getattr(self, name).tolist() for name in SPLIT_NAMES})

    def summary(self) -> dict[str, Any]:
        """Plain data for the store."""
        asked = dict(zip(SPLIT_NAMES, self.asked, strict=True))
        return {"key": self.key, "seed": self.seed, "sizes": self.sizes, "asked": asked}


@dataclass(frozen=True)
class _Unit:
    """Images that must stay together; `label` is the most frequent one among them."""

    name: str
    indices: tuple[int, ...]
    label: int | None


def split_workload(
    workload: Workload, fit: float, tune: float, test: float, seed: int = 0
) -> Splits:
    """Split a workload into sizes (numbers of images), or into fractions when all three are < 1.

    Images of one object (`Workload.objects`) never part: those of one group; without groups, files
    with the same content and images that look alike. Where nothing must stay together the sizes
    are exact; else each border is moved to the nearest one between objects.
    Each class is spread evenly: a split has its share of it, give or take one image or object.
    The same content and seed give the same splits on every machine.

    Where items lie in folders of splits, these are the splits: numbers say how many images to
    take at most, and fractions only how a split without a folder shares another one's. An object
    in several of them stays in the first (see :func:`in_several_splits`).

    Raises WorkloadError where there are too few images or objects.
    """
    sizes = (fit, tune, test)
    if any(item.split for item in workload.items):
        return _by_folder(workload, sizes, seed)
    borders = _borders(len(workload), sizes)
    units = _spread(_units(workload, range(len(workload))), seed)
    parts: list[list[_Unit]] = []
    first = 0
    for border in borders:
        last = first + _nearest(units[first:], border - _images(units[:first]))
        parts.append(units[first:last])
        first = last
    asked = (borders[0], borders[1] - borders[0], borders[2] - borders[1])
    return _splits(parts, units, asked, sizes, seed)


#: Which split's folder gives images to a split that has no folder.
_LENDS = {"fit": "tune", "tune": "test", "test": "tune"}


def _by_folder(workload: Workload, sizes: tuple[float, float, float], seed: int) -> Splits:
    shares, crossing = _are_shares(sizes), set(in_several_splits(workload).tolist())
    pools: dict[str, list[_Unit]] = {}
    for split in SPLIT_NAMES:
        own = [
            index
            for index, item in enumerate(workload.items)
            if item.split == split and index not in crossing
        ]
        pools[split] = _spread(_units(workload, own), seed)
    wanted = dict(zip(SPLIT_NAMES, sizes, strict=True))
    for split in [name for name, units in pools.items() if not units]:
        donor = _LENDS[split]
        first, second = sorted((split, donor), key=SPLIT_NAMES.index)
        units = pools[donor]
        share = wanted[first] / (wanted[first] + wanted[second])
        border = _nearest(units, round(share * _images(units)))
        pools[first], pools[second] = units[:border], units[border:]
    parts = [
        units if shares else units[: _nearest(units, int(wanted[split]))]
        for split, units in pools.items()
    ]
    fit, tune, test = (
        _images(pools[name]) if shares else int(wanted[name]) for name in SPLIT_NAMES
    )
    every = [unit for pool in pools.values() for unit in pool]
    return _splits(parts, every, (fit, tune, test), sizes, seed)


def in_several_splits(workload: Workload) -> NDArray[np.int64]:
    """Images (indices) in the folder of one split that show an object of an earlier one's: what
    was seen in training, or decided on, tells nothing new."""
    first: dict[int, int] = {}
    places = [SPLIT_NAMES.index(item.split) if item.split else 0 for item in workload.items]
    for shown, place in zip(workload.objects.tolist(), places, strict=True):
        first[shown] = min(place, first.get(shown, place))
    return read_only(
        [
            index
            for index, (shown, place) in enumerate(
                zip(workload.objects.tolist(), places, strict=True)
            )
            if place > first[shown]
        ]
    )


def _splits(
    parts: Sequence[Sequence[_Unit]],
    units: Sequence[_Unit],
    asked: tuple[int, int, int],
    sizes: tuple[float, float, float],
    seed: int,
) -> Splits:
    for name, part in zip(SPLIT_NAMES, parts, strict=True):
        if not part:
            largest = max((len(unit.indices) for unit in units), default=0)
            raise WorkloadError(
                f"no image is left for {name}: {len(units)} group(s) of images that must stay "
                f"together, the largest of {largest}, cannot fill splits of {_said(sizes)}; "
                "images of one group, files with the same content, and images that look alike "
                "stay together"
            )
    fit, tune, test = (read_only([i for unit in part for i in unit.indices]) for part in parts)
    return Splits(fit, tune, test, asked=asked, seed=seed)


def _said(sizes: tuple[float, float, float]) -> str:
    return ", ".join(f"{name} {size}" for name, size in zip(SPLIT_NAMES, sizes, strict=True))


def _are_shares(sizes: tuple[float, float, float]) -> bool:
    """Whether sizes are fractions, not numbers of images. Raises WorkloadError for others."""
    if all(0 < size < 1 for size in sizes):
        return True
    if all(size >= 1 and float(size).is_integer() for size in sizes):
        return False
    raise WorkloadError(
        "splits must be three numbers of images (1 or more), or three fractions below 1, "
        f"got {_said(sizes)}"
    )


def _borders(images: int, sizes: tuple[float, float, float]) -> list[int]:
    """Where fit, tune and test end, in images. Fractions are rounded at the borders."""
    total = sum(sizes)
    if not _are_shares(sizes):
        if total > images:
            raise WorkloadError(
                f"splits of {_said(sizes)} need {int(total)} images, but there are {images}; ask "
                "for fewer, or for fractions"
            )
        return [int(part) for part in accumulate(sizes)]
    if total > 1 + 1e-9:
        raise WorkloadError(f"fractions must sum to 1 or less, got {_said(sizes)}")
    borders = [math.floor(part * images + 0.5) for part in accumulate(sizes)]
    if not 0 < borders[0] < borders[1] < borders[2]:
        raise WorkloadError(f"{images} image(s) are too few for the fractions {_said(sizes)}")
    return borders


def _units(workload: Workload, indices: Iterable[int]) -> list[_Unit]:
    """The objects of some images, each by the least name that it has."""
    members: dict[int, list[int]] = defaultdict(list)
    for index in indices:
        members[int(workload.objects[index])].append(index)
    return [
        _Unit(
            min(workload.items[i].group or workload.items[i].sha256 for i in own),
            tuple(own),
            _majority(workload.items[i].label for i in own),
        )
        for own in members.values()
    ]


def _images(units: Sequence[_Unit]) -> int:
    return sum(len(unit.indices) for unit in units)


def _majority(labels: Iterable[int | None]) -> int | None:
    counts = Counter(label for label in labels if label is not None)
    return min(counts, key=lambda label: (-counts[label], label)) if counts else None


def _spread(units: list[_Unit], seed: int) -> list[_Unit]:
    """A seeded order in which every stretch holds its share of every class.

    Each class, shuffled, is laid out at even steps over [0, 1), from an offset of its own (else
    all small classes would begin together); the order is that of the positions.
    """
    classes: dict[int | None, list[_Unit]] = defaultdict(list)
    for unit in units:
        classes[unit.label].append(unit)
    placed: list[tuple[float, int, _Unit]] = []
    for label, members in classes.items():
        members.sort(key=lambda unit: (rank(seed, unit.name), unit.name))
        images = sum(len(unit.indices) for unit in members)
        offset = rank(seed, f"class {label}") / 2**64
        before = 0
        for unit in members:
            position = (before + offset * len(unit.indices)) / images
            placed.append((position, rank(seed, unit.name), unit))
            before += len(unit.indices)
    placed.sort(key=lambda place: (place[0], place[1], place[2].name))
    return [unit for _, _, unit in placed]


def _nearest(units: Sequence[_Unit], border: int) -> int:
    """How many units to take so that they end as near to the border (in images) as can be."""
    ends = list(accumulate(len(unit.indices) for unit in units))
    taken = 0
    while taken < len(ends) and ends[taken] <= border:
        taken += 1
    if taken == len(ends):
        return taken
    start = ends[taken - 1] if taken else -math.inf
    return taken + 1 if ends[taken] - border < border - start else taken
