"""Where the inputs of a split stop in a plan, by whose word, and how good those answers are."""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.choosing import Choice
from planner.judging import Judged
from search.quality import Ints
from search.stateful import StatefulReplay
from trimtab_runtime import kernel

BY = {
    kernel.NETWORK: "network",
    kernel.THUMBNAILS: "thumbnails",
    kernel.INSTANCES: "instances",
    kernel.CENTRES: "centres",
    kernel.HEADS: "heads",
}


def exit_table(choice: Choice, plan: Judged, split: str) -> list[dict[str, Any]]:
    """A row for each place where inputs of a split stop, in the order in which they pass: `where`,
    `by`, the `share` of all that stop there, how many of these are `right` (or, without labels,
    say what the full network says), how many the full network has right (`full_right`), and
    `spent_ms`, the mean time up to there. Empty for plans that stop nowhere early."""
    early = plan.composed.early
    if early is None:
        return []
    rows: Ints = getattr(choice.rows, split)
    found = choice.replayed(plan, rows)
    assert isinstance(found, StatefulReplay)
    full = choice.replayed_whole(plan, rows).answer
    truth = full if choice.rows.labels is None else choice.rows.labels[rows]
    spent = np.cumsum(choice.step_ms(plan))
    names = [tap.name for tap in early.structure.taps]
    table = []
    for step, tap, by in sorted(set(zip(found.step, found.tap, found.by, strict=True))):
        here = (found.step == step) & (found.tap == tap) & (found.by == by)
        where = "input" if by == kernel.THUMBNAILS else names[tap] if tap >= 0 else "end"
        if where == "end" and len(early.structure.stages) > 1:
            where = f"end of stage {int(found.stage[here][0]) + 1}"
        table.append(
            {
                "where": where,
                "by": BY[int(by)],
                "share": float(here.mean()),
                "right": float((found.answer[here] == truth[here]).mean()),
                "full_right": float((full[here] == truth[here]).mean()),
                "spent_ms": float(spent[int(step)]),
            }
        )
    return table
