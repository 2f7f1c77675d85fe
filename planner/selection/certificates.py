"""Certificates of plans with early exits, tested on the part of tune not used for selection."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.specification.sections import CertifySpec
from trimtab.search.estimates.risk_control import Risk, certify, losses_by_object


def attach_certificates(
    evaluator: PlanEvaluator, asked: CertifySpec | None, plans: Sequence[PlanCandidate]
) -> None:
    """Give every plan with static exits its certificate, all of them tested together. A plan that
    is not certified, or that remembers and cannot be, may not be chosen."""
    if asked is None:
        return
    risk = Risk(asked.loss, asked.confidence)
    early = [plan for plan in plans if plan.composed.design.kind == "exits"]
    static = [plan for plan in early if not plan.composed.design.remembers]
    data = evaluator.data
    rows = data.rows.certify
    assert data.rows.objects is not None
    objects = data.rows.objects[rows]
    losses = [
        losses_by_object(
            evaluator.replayed(plan, rows).answer != evaluator.replayed_whole(plan, rows).answer,
            objects,
        )
        for plan in static
    ]
    found = dict(zip((plan.key for plan in static), certify(losses, risk), strict=True))
    for plan in early:
        certificate = found.get(plan.key)
        plan.certified = certificate is not None and certificate.certified
        plan.certificate = (
            "not certifiable: with a memory, its answers depend on each other"
            if certificate is None
            else certificate.text()
        )
