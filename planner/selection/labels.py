"""Plans for people, in one line; and the best routed ones of each kind."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.search.plans.plan import ComposedPlan


def describe(names: Sequence[str], plan: ComposedPlan) -> str:
    """One line: the stages, by their `names`, and the share of inputs that reach each."""
    if plan.routed is not None:
        return _describe_routed(names, plan)
    parts = [names[0]] + [
        f"{name} ({share:.0%})" for name, share in zip(names[1:], plan.reach[1:], strict=True)
    ]
    text = " → ".join(parts) + (" mean" if plan.rule == "mean" else "")
    return text if plan.early is None else f"{text}: {plan.early.design.text}"


def _describe_routed(names: Sequence[str], plan: ComposedPlan) -> str:
    """The stages with the share of inputs that run each: '|' between those of which an input runs
    one, an arrow where it may run several; then what routes."""
    assert plan.routed is not None
    design = plan.routed.design
    shares = [f"{name} ({share:.0%})" for name, share in zip(names, plan.reach, strict=True)]
    between = " → " if any(t > 0.0 for t in plan.thresholds) else " | "
    if design.premodel is None:
        shares[0] = names[0]
    combined = " mean" if plan.rule == "mean" and between == " → " else ""
    return f"{between.join(shares)}{combined}: {design.text}"
