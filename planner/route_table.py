"""Which ways the inputs of a split take through a plan of several stages, how good those ways are,
and what the plan must be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from planner.choosing import Choice
from planner.judging import Judged
from search.quality import Ints
from search.replay import Replay
from search.routed import HeadedReplay
from workloads import Item

#: Inputs of each route that are named.
EXAMPLES = 3


def route_table(
    choice: Choice, plan: Judged, split: str, items: Sequence[Item]
) -> list[dict[str, Any]]:
    """A row for each route, by the stages (from 0) where its inputs `enter` and where they
    `stop`: the `share` of all that take it, how many of these are `right` (without labels: say
    what the reference says), how many `heads` inside that stage answered, and the files of a few
    as `examples`. Empty for single models, and for plans that stop early (exit_table.py)."""
    if plan.composed.early is not None or len(plan.composed.options) == 1:
        return []
    rows: Ints = getattr(choice.rows, split)
    found = choice.replayed(plan, rows)
    assert isinstance(found, Replay)
    right = found.answer == choice.taught_by[rows]
    inside = found.tap >= 0 if isinstance(found, HeadedReplay) else np.zeros(len(rows), bool)
    table = []
    for enter, stop in sorted({*zip(found.entry.tolist(), found.stage.tolist(), strict=True)}):
        here = (found.entry == enter) & (found.stage == stop)
        table.append(
            {
                "enter": enter,
                "stop": stop,
                "share": float(here.mean()),
                "right": float(right[here].mean()),
                "heads": float(inside[here].mean()),
                "examples": [str(items[row].path) for row in rows[here][:EXAMPLES]],
            }
        )
    return table


def route_rivals(choice: Choice, plan: Judged, split: str) -> dict[str, float]:
    """What a routed plan must be compared with, as shares of a split that are right: `majority`,
    the class that is commonest in fit; each of its stages alone, by name; `random`, a stage drawn
    as often as the plan stops there; `union`, any of its stages. `oracle_ms` is the mean time of
    the cheapest stage that is right (of the cheapest, where none is). Empty for other plans."""
    if plan.composed.routed is None:
        return {}
    rows: Ints = getattr(choice.rows, split)
    truth, taught = choice.taught_by[rows], choice.taught_by[choice.rows.fit]
    options = [choice.options[index] for index in plan.composed.options]
    right = np.stack([o.probabilities[rows].argmax(1) == truth for o in options], axis=1)
    stops = choice.replayed(plan, rows).stage
    shares = np.bincount(stops, minlength=len(options)) / len(rows)
    spent = np.array([ms for ms, _ in choice.predicted_stages(plan)])
    cheapest = np.argsort(spent, kind="stable")
    first = cheapest[right[:, cheapest].argmax(1)]
    return {
        "majority": float((truth == np.bincount(taught).argmax()).mean()),
        **{o.name: float(column.mean()) for o, column in zip(options, right.T, strict=True)},
        "random": float(right.mean(0) @ shares),
        "union": float(right.any(1).mean()),
        "oracle_ms": float(spent[first].mean()),
    }
