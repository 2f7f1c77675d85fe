"""fit, tune and test: disjoint, seeded, stratified, and no object in two of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
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

    Images of one group never part; without groups, files with the same content never do. Where
    nothing must stay together the sizes are exact; else each border is moved to the nearest one
    between groups.
    Each class is spread evenly: a split has its share of it, give or take one image or group.
    The same content and seed give the same splits on every machine.

    Raises WorkloadError where there are too few images or groups.
    """
    borders = _borders(len(workload), (fit, tune, test))
    units = _spread(_units(workload), seed)
    ends = list(accumulate(len(unit.indices) for unit in units))
    parts: list[NDArray[np.int64]] = []
    first = 0
    for name, border in zip(SPLIT_NAMES, borders, strict=True):
        last = first + _nearest(ends[first:], border)
        if last == first:
            raise WorkloadError(
                f"no image is left for {name}: {len(units)} group(s) of images that must stay "
                f"together, the largest of {max(len(unit.indices) for unit in units)}, cannot "
                f"fill splits of fit {fit}, tune {tune}, test {test}; images of one group, and "
                "files with the same content, stay together"
            )
        parts.append(read_only([i for unit in units[first:last] for i in unit.indices]))
        first = last
    asked = (borders[0], borders[1] - borders[0], borders[2] - borders[1])
    return Splits(parts[0], parts[1], parts[2], asked=asked, seed=seed)


def _borders(images: int, sizes: tuple[float, float, float]) -> list[int]:
    """Where fit, tune and test end, in images. Fractions are rounded at the borders."""
    said = ", ".join(f"{name} {size}" for name, size in zip(SPLIT_NAMES, sizes, strict=True))
    total = sum(sizes)
    if all(0 < size < 1 for size in sizes):
        if total > 1 + 1e-9:
            raise WorkloadError(f"fractions must sum to 1 or less, got {said}")
        borders = [math.floor(part * images + 0.5) for part in accumulate(sizes)]
        if not 0 < borders[0] < borders[1] < borders[2]:
            raise WorkloadError(f"{images} image(s) are too few for the fractions {said}")
        return borders
    if not all(size >= 1 and float(size).is_integer() for size in sizes):
        raise WorkloadError(
            "splits must be three numbers of images (1 or more), or three fractions below 1, "
            f"got {said}"
        )
    if total > images:
        raise WorkloadError(
            f"splits of {said} need {int(total)} images, but there are {images}; ask for fewer, "
            "or for fractions"
        )
    return [int(part) for part in accumulate(sizes)]


def _units(workload: Workload) -> list[_Unit]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(workload.items):
        members[item.sha256 if item.group is None else item.group].append(index)
    return [
        _Unit(name, tuple(indices), _majority(workload.items[i].label for i in indices))
        for name, indices in members.items()
    ]


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


def _nearest(ends: list[int], border: int) -> int:
    """How many units to take so that they end as near to the border as can be."""
    taken = 0
    while taken < len(ends) and ends[taken] <= border:
        taken += 1
    if taken == len(ends):
        return taken
    start = ends[taken - 1] if taken else -math.inf
    return taken + 1 if ends[taken] - border < border - start else taken
