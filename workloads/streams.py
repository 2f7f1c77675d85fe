"""The order in which inputs arrive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import WorkloadError
from workloads.shuffling import rank
from workloads.workload import read_only

STREAM_KINDS = ("independent",)


@dataclass(frozen=True, eq=False)
class Stream:
    """Frames in the order of their arrival.

    `items[t]` is the index, in the workload, of the image that frame t shows: (frames,), int64,
    read-only. An index may return in kinds that repeat objects.
    """

    kind: str
    items: NDArray[np.int64]
    seed: int

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def key(self) -> str:
        """sha256 of what arrives, and in which order."""
        return content_key({"kind": self.kind, "items": self.items.tolist()})


def make_stream(indices: NDArray[np.int64], seed: int = 0, kind: str = "independent") -> Stream:
    """A stream over the items of a split, (images,).

    - `independent`: every image once, in a seeded order that is the same on every machine.

    Raises WorkloadError for a kind that is not in STREAM_KINDS, or for no images.
    """
    if kind not in STREAM_KINDS:
        raise WorkloadError(f"stream.kind must be one of {', '.join(STREAM_KINDS)}, got {kind!r}")
    if len(indices) == 0:
        raise WorkloadError("a stream needs at least one image, got 0")
    order = sorted((int(index) for index in indices), key=lambda i: (rank(seed, str(i)), i))
    return Stream(kind=kind, items=read_only(order), seed=seed)
