"""Which models a router chooses among: the published rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Share of all inputs that a further model must add (Taylor et al., LCTES 2018: 0.5 %).
THETA = 0.005


def included(
    correct: NDArray[np.bool_], costs_ms: Sequence[float], theta: float = THETA
) -> tuple[int, ...]:
    """Numbers of the models to choose among, in the order in which they were found.

    `correct` (inputs, models) says who is right, `costs_ms` one a model. First comes the model
    that most often is the fastest correct one; then, again and again, the one that is right on
    most of the inputs that all so far fail on, until that is less than a share `theta` of all
    inputs. The cheaper of equals. Source: Taylor et al., LCTES 2018, section 3.4 (Algorithm 1).
    """
    if correct.ndim != 2 or not correct.size or correct.shape[1] != len(costs_ms):
        raise ValueError(
            f"correct must be (inputs, models) for {len(costs_ms)} costs, got {correct.shape}"
        )
    by_cost = np.argsort(costs_ms, kind="stable")
    solved = correct.any(1)
    fastest = by_cost[correct[solved][:, by_cost].argmax(1)]
    counts = np.bincount(fastest, minlength=correct.shape[1])
    found = [int(by_cost[counts[by_cost].argmax()])]
    while True:
        failing = ~correct[:, found].any(1)
        gains = correct[failing].sum(0) / len(correct)
        best = int(by_cost[gains[by_cost].argmax()])
        if gains[best] == 0 or gains[best] < theta:
            return tuple(found)
        found.append(best)
