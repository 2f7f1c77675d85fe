"""Which features of an image a router reads: the published two steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.routers.chain import NEIGHBOURS, min_max

Doubles = NDArray[np.float64]

#: Of two features that are more alike (absolute Pearson correlation), one is dropped.
ALIKE = 0.75
#: Features that are kept.
WANTED = 7


def uncorrelated(features: Doubles, alike: float = ALIKE) -> tuple[int, ...]:
    """Numbers of the columns of `features` (inputs, features) that stay: of each pair that is
    more correlated than `alike` the first one does. Constant columns say nothing and go.

    Source: Taylor et al., LCTES 2018, section 3.3.
    """
    says = np.flatnonzero(np.ptp(features, axis=0) > 0)
    related = np.abs(np.corrcoef(features[:, says], rowvar=False)).reshape(len(says), len(says))
    kept: list[int] = []
    for place in range(len(says)):
        if all(related[place, other] <= alike for other in kept):
            kept.append(place)
    return tuple(int(says[place]) for place in kept)


def eliminated(
    features: Doubles, correct: NDArray[np.bool_], wanted: int = WANTED
) -> tuple[int, ...]:
    """Numbers of the `wanted` columns of `features` (inputs, features) that are left when, again
    and again, the one is dropped whose loss costs a kNN least cross-validated accuracy (leave one
    out) in saying who is `correct` (inputs, models). The later of equals is dropped.

    Source: Taylor et al., LCTES 2018, section 3.3.
    """
    low, scale = min_max(features)
    columns = ((features - low) * scale).T
    # Squared distances add up over features: one is dropped by subtracting its own.
    apart = (columns[:, :, None] - columns[:, None, :]) ** 2
    np.einsum("fii->fi", apart)[:] = np.inf  # nobody is a neighbour of its own
    kept, told = list(range(len(columns))), correct.astype(np.float64)

    def accuracy(columns: list[int]) -> float:
        near = np.argpartition(apart[columns].sum(0), NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        return float(((told[near].mean(1) > 0.5) == correct).mean())

    while len(kept) > wanted:
        rest = [[other for other in kept if other != one] for one in kept]
        scores = [accuracy(columns) for columns in rest]
        kept = rest[max(range(len(rest)), key=lambda place: (scores[place], place))]
    return tuple(kept)


def published_features(features: Doubles, correct: NDArray[np.bool_]) -> tuple[int, ...]:
    """Both steps: numbers of the columns of `features` to keep."""
    first = uncorrelated(features)
    return tuple(first[place] for place in eliminated(features[:, first], correct))
