"""The targets that answers are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """What answers are compared with, on one split: labels (n,) or None, and what the reference
    member answers (n,) or None. `soft` (n, classes) are class probabilities that may stand in
    for labels; see guard.py. `classes` names the classes, for the recall of one; `around` (n,)
    are the answers where metrics are linearised, by default those that are looked at. `blocks`
    (n,) number the blocks of inputs that depend on each other, which intervals resample whole
    (cluster_bootstrap.py); without them, inputs are independent."""

    labels: Ints | None
    reference: Ints | None
    soft: Floats | None = None
    classes: tuple[str, ...] = ()
    around: Ints | None = None
    blocks: Ints | None = None

    @cached_property
    def soft_share(self) -> Doubles:
        """(classes,) shares of the inputs that are of each class, as `soft` says."""
        assert self.soft is not None
        share: Doubles = self.soft.mean(0, dtype=np.float64)
        return share
