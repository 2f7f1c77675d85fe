"""Seeded order that no version of any library can change."""

from __future__ import annotations

import hashlib


def rank(seed: int, name: str) -> int:
    """A number of 64 evenly spread bits that depends on nothing but the seed and the name.

    Sorting by it shuffles. NumPy promises no stable streams between versions; sha256 does.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
