"""Correction of predicted costs, learned from verified bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.costs.correction import Correction, Learned, Pair, corrected_metrics, learn
from trimtab_runtime.metrics import find_metric


def correct(
    plans: Sequence[PlanCandidate], verified: Mapping[str, Mapping[str, Pair]], known: Correction
) -> dict[str, Learned]:
    """Correct the predicted costs of `plans` by `verified`: pairs of predicted and measured costs
    by the keys of plans and metric. A verified plan takes its own ratio, every other what the
    verified ones teach beyond what was `known` before, which is returned. Where they are too few
    to teach anything, times of the others take the median ratio for the decision: what the whole
    device is slower or faster by when bundles run must not decide between plans. What is foreseen
    of a verified plan is what the other ones teach."""
    learned = {}
    for metric in corrected_metrics():
        pairs = {key: found[metric] for key, found in verified.items() if metric in found}
        lesson = learn(list(pairs.values()), known.models.get(metric, {}))
        if lesson is not None:
            learned[metric] = lesson
        ratios = [pair.measured / pair.predicted for pair in pairs.values()]
        untaught = lesson is None and ratios and find_metric(metric).unit == "ms"
        for plan in plans:
            plan.foreseen[metric] = _beyond(lesson, known, metric, plan)
            plan.factors[metric] = median(ratios) if untaught else plan.foreseen[metric]
            own = pairs.get(plan.key)
            if own is not None:
                others = [pair for key, pair in pairs.items() if key != plan.key]
                lesson_of_others = learn(others, known.models.get(metric, {}))
                plan.foreseen[metric] = _beyond(lesson_of_others, known, metric, plan)
                plan.factors[metric] = own.measured / own.predicted
    return learned


def _beyond(lesson: Learned | None, known: Correction, metric: str, plan: PlanCandidate) -> float:
    """What a lesson multiplies a prediction by that holds already what was `known` before."""
    if lesson is None:
        return 1.0
    stages = len(plan.composed.options)
    return Correction({metric: lesson.model}).factor(metric, stages) / known.factor(metric, stages)
