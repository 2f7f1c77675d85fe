"""Training the routers and scorers of a plan, on the inputs of `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trimtab.search.estimates.guard import consensus
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.plans.problem import Problem
from trimtab.search.replay.cascade import Scoring
from trimtab.search.routing.design import LearnedScorer, RoutedDesign, TrainedRouter
from trimtab.search.routing.sources import FeatureSource, VectorSource
from trimtab.variants.routers import (
    Runner,
    answer_features,
    best_estimator,
    chain_file,
    fit_stages,
    included,
    margin_file,
    published_features,
    scorer_file,
)
from trimtab_runtime.definitions.plan import RULES
from trimtab_runtime.plans.routing import combine

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class RouterTargets:
    """What routers are trained on: the rows of `fit`, the right `classes` (fit,) there, and the
    `opinion` (fit, classes), the consensus of the ensemble, on these rows."""

    fit: Ints
    classes: Ints
    opinion: Floats

    @classmethod
    def of(cls, probabilities: Sequence[Floats], fit: Ints, classes: Ints) -> RouterTargets:
        """From calibrated `probabilities` (inputs, classes), one a variant."""
        opinion = consensus([p[fit] for p in probabilities], np.arange(len(fit)), classes)
        return cls(fit, classes, opinion)

    def correct(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Whether answers are right on `fit` (fit,)."""
        right: NDArray[np.bool_] = probabilities[self.fit].argmax(1) == self.classes
        return right

    def credit(self, answers: Ints) -> Doubles:
        """How likely answers (fit,) are right, by the consensus: less noisy than labels, and
        what the guard goes by (guard.py)."""
        return self.opinion[np.arange(len(answers)), answers].astype(np.float64)


class RouterTrainer:
    """Trains what a group of options may be routed by, from `sources` of features. Raises
    ModelError where something does not convert."""

    def __init__(
        self, problem: Problem, targets: RouterTargets, sources: Sequence[FeatureSource]
    ) -> None:
        self._problem, self._targets, self.sources = problem, targets, sources

    def entry_ms(self, options: Sequence[int]) -> tuple[float, ...]:
        """What entering at each stage costs, as far as the stage itself tells."""
        costs = (self._problem.options[option].cost.total("beside") for option in options)
        return tuple(float(f"{cost.mean():.4g}") for cost in costs)

    def published(self, members: Sequence[int], default: int) -> RoutedDesign | None:
        """The router exactly as published, over the `members` that its rule includes and the
        `default` that answers where it abstains. None without image features, or where the rule
        includes the default alone."""
        image = next((s for s in self.sources if isinstance(s, VectorSource) and s.names), None)
        lessons = self._targets
        if image is None or len(lessons.fit) < 2 * len(image.names):
            return None
        options = self._problem.options
        correct = np.stack([lessons.correct(options[m].probabilities) for m in members], axis=1)
        costs = [float(options[m].cost.total("beside").mean()) for m in members]
        order = [members[place] for place in included(correct, costs)]
        stages = tuple(sorted({*order, default}, key=lambda m: costs[members.index(m)]))
        if len(stages) < 2:
            return None
        own = correct[:, [members.index(stage) for stage in stages]]
        seen = image.seen[lessons.fit].astype(np.float64)
        kept = list(published_features(seen, own))
        places = [stages.index(member) for member in order]
        made = chain_file(seen[:, kept], own, places, stages.index(default))
        scores = Runner(made)(image.seen[:, kept])
        names = tuple(image.names[column] for column in kept)
        router = TrainedRouter("as published", made, scores, image.kind, names, published=True)
        nothing = (None,) * len(stages)
        return RoutedDesign(stages, "last", router, nothing, self.entry_ms(stages))

    def routers(self, options: Sequence[int]) -> list[TrainedRouter]:
        """The best estimator on each kind of features, for these options in order."""
        lessons = self._targets
        answers = [self._problem.options[o].probabilities[lessons.fit].argmax(1) for o in options]
        worth = np.stack([lessons.credit(answer) for answer in answers], axis=1)
        learned = (source.learn(options[0], lessons.fit, worth) for source in self.sources)
        return [router for router in learned if router is not None]

    def scorers(self, options: Sequence[int], rule: str) -> tuple[LearnedScorer | None, ...]:
        """A scorer for every stage but the last: from how its answer looks, whether the last
        stage's would be better."""
        lessons, found = self._targets, list[LearnedScorer | None]()
        total: Floats | None = None
        totals = []
        for number, option in enumerate(options):
            own = self._problem.options[option].probabilities[lessons.fit]
            total = combine(total, own, number, rule)
            totals.append(total)
        last = lessons.credit(totals[-1].argmax(1))
        for own in totals[:-1]:
            # From 0 (this answer is wrong, the last right) to 1 (the other way round).
            worth = (1.0 + lessons.credit(own.argmax(1)) - last) / 2.0
            features = answer_features(own)
            _, estimator, _ = best_estimator(features, worth[:, None], ("ridge", "forest"))
            made = scorer_file(fit_stages(estimator, features, worth[:, None]), own)
            found.append(LearnedScorer("learned", made, _scoring(made)))
        return (*found, None)

    def designs(self, options: Sequence[int]) -> list[RoutedDesign]:
        """Everything that these options may be routed by."""
        with threadpool_limits(1):  # on hundreds of inputs a second thread only waits
            return self._designs(options)

    def _designs(self, options: Sequence[int]) -> list[RoutedDesign]:
        costs_ms, nothing = self.entry_ms(options), (None,) * len(options)
        found = [
            RoutedDesign(tuple(options), rule, router, nothing, costs_ms)
            for router in self.routers(options)
            for rule in RULES
        ]
        for rule in RULES:
            scorers = self.scorers(options, rule)
            found.append(RoutedDesign(tuple(options), rule, None, scorers, costs_ms))
        return found + self.margins(options)

    def margins(self, options: Sequence[int]) -> list[RoutedDesign]:
        """Deferral by the lead of the likeliest class over the second, of which nothing is
        learned."""
        classes = self._problem.options[options[0]].probabilities.shape[1]
        made = margin_file(classes)
        scorer = LearnedScorer("margin", made, _lead)
        scorers = (*[scorer] * (len(options) - 1), None)
        costs_ms = self.entry_ms(options)
        return [RoutedDesign(tuple(options), rule, None, scorers, costs_ms) for rule in RULES]


def _lead(probabilities: Floats) -> Floats:
    """What the margin's file gives, without running it row by row."""
    top = np.partition(probabilities, -2, axis=1)
    lead: Floats = np.clip(top[:, -1] - top[:, -2], np.float32(0), np.float32(1))
    return lead


def _scoring(made: bytes) -> Scoring:
    run = Runner(made)

    def score(probabilities: Floats) -> Floats:
        return run(probabilities)[:, 0]

    return score
