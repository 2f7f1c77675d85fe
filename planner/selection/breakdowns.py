"""Per exit of a plan: share of inputs leaving there, which mechanism answered, accuracy.

Which ways the inputs of a split take through a plan of several stages, how good those ways are,
and what the plan must be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.estimates.targets import Ints
from trimtab.search.exits.design import BuiltExits
from trimtab.search.replay.cascade import Replay
from trimtab.search.replay.stateful import StatefulReplay
from trimtab.search.routing.design import HeadedReplay
from trimtab.workloads import Item
from trimtab_runtime.memory import kernel

BY = {
    kernel.NETWORK: "network",
    kernel.THUMBNAILS: "thumbnails",
    kernel.INSTANCES: "instances",
    kernel.CENTRES: "centres",
    kernel.HEADS: "heads",
}


@dataclass(frozen=True)
class Breakdown:
    """Where the inputs of a `split` stop in a plan: see :func:`exit_table`, :func:`route_table`
    and :func:`route_rivals`; and of test what is answered to which class: see
    :func:`answer_counts`."""

    split: str
    exits: Sequence[Mapping[str, Any]]
    routes: Sequence[Mapping[str, Any]]
    rivals: Mapping[str, float]
    confusions: Sequence[Sequence[int]] = ()

    @classmethod
    def of(
        cls,
        evaluator: PlanEvaluator,
        plan: PlanCandidate,
        found: Replay | StatefulReplay,
        split: str,
        items: Sequence[Item],
    ) -> Breakdown:
        """Of a plan's replay on a split, with some of the `items` as examples."""
        return cls(
            split,
            exit_table(evaluator, plan, found, split),
            route_table(evaluator, plan, found, split, items),
            route_rivals(evaluator, plan, found, split),
            _confusions(evaluator, found) if split == "test" else (),
        )


def exit_table(
    evaluator: PlanEvaluator, plan: PlanCandidate, found: Replay | StatefulReplay, split: str
) -> list[dict[str, Any]]:
    """A row for each place where inputs of a split stop (as they were `found` to), in the order in
    which they pass: `where`, `by`, the `share` of all that stop there, how many of these are
    `right` (or, without labels, say what the full network says), how many the full network has
    right (`full_right`), and `spent_ms`, the mean time up to there. Empty for plans that stop
    nowhere early."""
    design = plan.composed.design
    if not (isinstance(design, BuiltExits) and isinstance(found, StatefulReplay)):
        return []
    data, structure = evaluator.data, design.structure
    rows: Ints = getattr(data.rows, split)
    full = evaluator.replayed_whole(plan, rows).answer
    truth = full if data.rows.labels is None else data.rows.labels[rows]
    spent = np.cumsum(design.costs.step_ms())
    names = [tap.name for tap in structure.taps]
    table = []
    for step, tap, by in sorted(set(zip(found.step, found.tap, found.by, strict=True))):
        here = (found.step == step) & (found.tap == tap) & (found.by == by)
        where = "input" if by == kernel.THUMBNAILS else names[tap] if tap >= 0 else "end"
        if where == "end" and len(structure.stages) > 1:
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


def answer_counts(labels: Ints, answers: Ints) -> list[list[int]]:
    """[label, answer, number of inputs] of each pair that occurs in labels and answers (n,)."""
    known, counts = np.unique(np.stack([labels, answers], 1), axis=0, return_counts=True)
    found: list[list[int]] = np.column_stack([known, counts]).tolist()
    return found


def _confusions(
    evaluator: PlanEvaluator, found: Replay | StatefulReplay
) -> Sequence[Sequence[int]]:
    """:func:`answer_counts` of test; empty without labels."""
    rows = evaluator.data.rows
    return () if rows.labels is None else answer_counts(rows.labels[rows.test], found.answer)


#: Inputs of each route that are named.
EXAMPLES = 3


def route_table(
    evaluator: PlanEvaluator,
    plan: PlanCandidate,
    found: Replay | StatefulReplay,
    split: str,
    items: Sequence[Item],
) -> list[dict[str, Any]]:
    """A row for each route, by the stages (from 0) where its inputs `enter` and where they
    `stop`: the `share` of all that take it, how many of these are `right` (without labels: say
    what the reference says), how many `heads` inside that stage answered, and the files of a few
    as `examples`. Empty for single models, and for plans that stop early (exit_table.py)."""
    if not isinstance(found, Replay) or len(plan.composed.options) == 1:
        return []
    rows: Ints = getattr(evaluator.data.rows, split)
    right = found.answer == evaluator.data.taught_by[rows]
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


def route_rivals(
    evaluator: PlanEvaluator, plan: PlanCandidate, found: Replay | StatefulReplay, split: str
) -> dict[str, float]:
    """What a routed plan must be compared with, as shares of a split that are right: `majority`,
    the class that is commonest in fit; each of its stages alone, by name; `random`, a stage drawn
    as often as the plan stops there; `union`, any of its stages. `oracle_ms` is the mean time of
    the cheapest stage that is right (of the cheapest, where none is). Empty for other plans."""
    if plan.composed.design.kind != "routed":
        return {}
    data = evaluator.data
    rows: Ints = getattr(data.rows, split)
    truth, taught = data.taught_by[rows], data.taught_by[data.rows.fit]
    options = [data.options[index] for index in plan.composed.options]
    right = np.stack([o.probabilities[rows].argmax(1) == truth for o in options], axis=1)
    shares = np.bincount(found.stage, minlength=len(options)) / len(rows)
    spent = np.array([ms for ms, _ in evaluator.stage_times(plan)])
    cheapest = np.argsort(spent, kind="stable")
    first = cheapest[right[:, cheapest].argmax(1)]
    return {
        "majority": float((truth == np.bincount(taught).argmax()).mean()),
        **{o.name: float(column.mean()) for o, column in zip(options, right.T, strict=True)},
        "random": float(right.mean(0) @ shares),
        "union": float(right.any(1).mean()),
        "oracle_ms": float(spent[first].mean()),
    }
