"""The order in which inputs arrive, and what the camera does to them meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.workloads.streams.arrivals import arrive
from trimtab.workloads.streams.motion import NO_NOISE, move
from trimtab.workloads.streams.recipes import StreamRecipe
from trimtab.workloads.workload import Workload, read_only
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import WorkloadError


@dataclass(frozen=True, eq=False)
class Stream:
    """Frames in the order of their arrival; all arrays are read-only.

    - `items`: (frames,), the index in the workload of the image that a frame shows.
    - `shifts`: (frames, 2), by how many pixels it is moved to the right and down.
    - `gains`: (frames,), what its pixels are multiplied by.
    - `noise_seeds`: (frames,), what its noise is drawn from; -1 is no noise.
    - `blocks`: (frames,), numbers 0, 1, 2, ... in the order of their first frames. Dependent
      frames share one: the stay of an object (dwelling, interleaved), a stretch (hot_classes),
      else the object (the group, or the image where there are no groups). The frames of a block
      need not be adjacent.
    """

    recipe: StreamRecipe
    seed: int
    items: NDArray[np.int64]
    shifts: NDArray[np.int64]
    gains: NDArray[np.float64]
    noise_seeds: NDArray[np.int64]
    blocks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def key(self) -> str:
        """sha256 of the recipe, the seed and every frame."""
        return content_key(
            {
                "recipe": self.recipe,
                "seed": self.seed,
                "items": self.items.tolist(),
                "shifts": self.shifts.tolist(),
                "gains": self.gains.tolist(),
                "noise_seeds": self.noise_seeds.tolist(),
                "blocks": self.blocks.tolist(),
            }
        )

    def is_still(self, t: int) -> bool:
        """Whether frame t is the image itself, pixel for pixel."""
        moved = bool(self.shifts[t].any()) or float(self.gains[t]) != 1.0
        return not moved and int(self.noise_seeds[t]) == NO_NOISE


def make_stream(
    workload: Workload, indices: NDArray[np.int64], recipe: StreamRecipe, seed: int = 0
) -> Stream:
    """A stream over the images of a split, whose `indices` are (images,), in any order.

    The kinds, and what is a class where there are no labels, stand in docs/streams.md. The same
    indices, labels, recipe and seed give the same stream on every machine. Other indices give an
    unrelated one; other motion, or a larger `frames` for the same images, keeps the order.

    Raises WorkloadError for indices that are none, double or outside the workload, and where the
    images do not suffice for the kind.
    """
    chosen = _checked(workload, indices)
    name = f"{seed}/{content_key(chosen)}"
    if recipe.kind == "hot_classes" and not any(
        item.label is not None or item.group is not None
        for item in (workload.items[index] for index in chosen)
    ):
        raise WorkloadError(
            "stream.kind hot_classes needs labels or groups, but the workload has neither"
        )
    arrivals = arrive(workload, chosen, recipe, name)
    motion = move(arrivals.blocks, recipe, name)
    return Stream(
        recipe=recipe,
        seed=seed,
        items=read_only(arrivals.items),
        shifts=_frozen(np.array(motion.shifts, dtype=np.int64)),
        gains=_frozen(np.array(motion.gains, dtype=np.float64)),
        noise_seeds=read_only(motion.noise_seeds),
        blocks=read_only(arrivals.blocks),
    )


def _checked(workload: Workload, indices: NDArray[np.int64]) -> list[int]:
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise WorkloadError(
            "indices of a stream must be whole numbers of shape (images,), got "
            f"{indices.dtype} {indices.shape}"
        )
    chosen = sorted(indices.tolist())
    if not chosen:
        raise WorkloadError("a stream needs at least one image, got 0")
    if chosen[0] < 0 or chosen[-1] >= len(workload):
        raise WorkloadError(
            f"0 <= index < {len(workload)} (the images of the workload) must hold, got "
            f"{chosen[0]} to {chosen[-1]}"
        )
    if len(set(chosen)) < len(chosen):
        raise WorkloadError(
            f"indices of a stream must differ, got {len(chosen)} of which "
            f"{len(chosen) - len(set(chosen))} repeat"
        )
    return chosen


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
