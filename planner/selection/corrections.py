"""Correction of predicted costs, learned from verified bundles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.costs.correction import Correction, Learned, Pair, corrected_metrics, learn


def correct(
    plans: Iterable[PlanCandidate], verified: Mapping[str, Mapping[str, Pair]], known: Correction
) -> dict[str, Learned]:
    """Correct the predicted costs of `plans` by `verified`: pairs of predicted and measured costs
    by the keys of plans and metric. A verified plan takes its own ratio, every other what the
    verified ones teach beyond what was `known` before, which is returned."""
    learned = {}
    for metric in corrected_metrics():
        pairs = [found[metric] for found in verified.values() if metric in found]
        lesson = learn(pairs, known.models.get(metric, {}))
        if lesson is not None:
            learned[metric] = lesson
    after = Correction({metric: lesson.model for metric, lesson in learned.items()})
    for plan in plans:
        stages, own = len(plan.composed.options), verified.get(plan.key, {})
        for metric in corrected_metrics():
            if metric in own:
                plan.factors[metric] = own[metric].measured / own[metric].predicted
            elif metric in learned:
                before = known.factor(metric, stages)
                plan.factors[metric] = after.factor(metric, stages) / before
    return learned
