"""The difference in latency between the baseline and a plan, by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trimtab.planner.reports.front import PlanRow
from trimtab.planner.reports.plan.report import PlanReport
from trimtab.planner.reports.speedup import LATENCY

_LEAST_MS = 5e-4  # what would be shown as zero


@dataclass(frozen=True)
class WaterfallBar:
    """A bar: `ms` of the baseline or the plan ('total'), or what something adds or saves
    ('change'). Changes lead from the first total to the last."""

    label: str
    ms: float
    kind: Literal["total", "change"]


def waterfall(found: PlanReport, baseline: PlanRow | None) -> list[WaterfallBar]:
    """From the baseline's mean latency to the plan's, as predicted for the inputs of test. Empty
    where one is not known, and for the baseline itself."""
    if baseline is None or baseline.key == found.row.key:
        return []
    early = any(row.by != "network" for row in found.exits)
    own, base = found.row.figure(LATENCY), baseline.figure(LATENCY)
    start, end = base.predicted, own.predicted
    if start is None or end is None:
        return []
    changes = _early(found, start) if early else _stages(found, baseline, start)
    rest = end - start - sum(change.ms for change in changes)
    name = "other paths" if early else "correction from measured bundles, test inputs"
    changes.append(WaterfallBar(name, rest, "change"))
    shown = [change for change in changes if abs(change.ms) >= _LEAST_MS]
    return [
        WaterfallBar(f"baseline: {baseline.label}", start, "total"),
        *shown,
        WaterfallBar("this plan", end, "total"),
    ]


def _stages(found: PlanReport, baseline: PlanRow, start: float) -> list[WaterfallBar]:
    """Another last network, inputs that never come to it, and the stages asked before."""
    *first, last = found.stages
    changes = []
    if last.name != baseline.label:
        changes.append(
            WaterfallBar(
                f"{last.name} in place of {baseline.label}", last.stage_ms - start, "change"
            )
        )
    else:
        changes.append(
            WaterfallBar(f"{last.name} with a colder cache", last.stage_ms - start, "change")
        )
    if last.reach < 1:
        saved = (last.reach - 1) * last.stage_ms
        text = f"{1 - last.reach:.0%} of the inputs never reach {last.name}"
        changes.append(WaterfallBar(text, saved, "change"))
    for stage in first:
        text = f"{stage.name} for {stage.reach:.0%} of the inputs"
        changes.append(WaterfallBar(text, stage.reach * stage.stage_ms, "change"))
    return changes


def _early(found: PlanReport, start: float) -> list[WaterfallBar]:
    """A network with taps from end to end, and what each place saves where inputs stop."""
    whole = max(row.spent_ms for row in found.exits)
    changes = [WaterfallBar("taps, memory look-ups, other network", whole - start, "change")]
    for row in found.exits:
        saved = row.share * (row.spent_ms - whole)
        changes.append(
            WaterfallBar(f"{row.share:.0%} exit at {row.where} ({row.by})", saved, "change")
        )
    return changes
