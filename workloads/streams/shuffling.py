"""Seeded order and seeded draws that no version of any library can change."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# The sum of eight even bytes: within 1 % of the normal curve to three deviations, in integers.
BYTES_MEAN = 8 * 127.5
BYTES_DEVIATION = math.sqrt(8 * (256**2 - 1) / 12)


def rank(seed: int, name: str) -> int:
    """A number of 64 evenly spread bits that depends on nothing but the seed and the name.

    Sorting by it shuffles. NumPy promises no stable streams between versions; sha256 does.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


class Dice:
    """A sequence of draws that depends on nothing but its name. Not to be shared by threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._drawn = 0
        self._digest = b""

    def word(self) -> bytes:
        """Eight even bytes."""
        place = self._drawn % 4 * 8
        if place == 0:
            text = f"{self._name}/{self._drawn // 4}"
            self._digest = hashlib.sha256(text.encode()).digest()
        self._drawn += 1
        return self._digest[place : place + 8]

    def below(self, count: int) -> int:
        """A whole number of 0 .. count - 1, evenly; `count` far below 2**64."""
        return int.from_bytes(self.word(), "big") * count >> 64

    def happens(self, probability: float) -> bool:
        """True with the probability given, 0 to 1."""
        return int.from_bytes(self.word(), "big") < probability * 2.0**64

    def normal(self) -> float:
        """Mean 0, deviation 1, nearly normal, never beyond +-4.9; the same bits everywhere."""
        return (sum(self.word()) - BYTES_MEAN) / BYTES_DEVIATION

    def pick(self, sums: Sequence[int]) -> int:
        """A place i with weight sums[i] - sums[i - 1]; `sums` are running sums of weights."""
        return bisect_right(sums, self.below(sums[-1]))

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """The values in an even random order."""
        mixed = list(values)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed
