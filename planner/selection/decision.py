"""Why the choice moved once bundles were measured, in words."""

from __future__ import annotations

from collections.abc import Collection

from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.ties import Ties
from trimtab.search.estimates.paired_times import Known


def why_moved(
    before: PlanCandidate,
    after: PlanCandidate | None,
    baseline: PlanCandidate,
    failed: Collection[str],
    ties: Ties,
) -> str:
    """Why not the plan that was chosen `before` any bundle ran, and which is chosen instead; ''
    where it still is."""
    if after is before:
        return ""
    instead = f"{after.label} is chosen instead" if after else "no plan is chosen"
    if before.key in failed:
        return f"its bundle could not be verified; {instead}"
    known = ties.faster(before, baseline)
    if known is not None and known.value < 1:
        return f"in turns it is {_times(known)} as fast as the baseline; {instead}"
    known = ties.faster(after, before) if after else None
    if known is not None and known.low > 1:
        return f"{instead}: in turns it is {_times(known)} as fast"
    if after is not None and after.preferred:
        return f"{instead}: {after.preferred}"
    if before.feasible != "yes":
        missed = "; ".join(before.reasons)
        return f"with what its bundle measured it misses a constraint ({missed}); {instead}"
    if not before.factors:  # of several devices, each has its own
        return f"what bundles measured decides otherwise; {instead}"
    ratio = before.factor("latency_mean_ms")
    return f"its bundle measured {ratio:.2f} times the predicted latency; {instead}"


def _times(known: Known) -> str:
    return f"{known.value:.2f}x (95 %: {known.low:.2f} to {known.high:.2f})"
