"""To come."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.hostile.cases import Case


def cases(seed: int) -> Iterator[Case]:
    """None so far."""
    yield from ()
