"""One split of benchmarks/premodel.py: plans composed, chosen on tune, reported on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.planner.candidates.measured import Measured
from trimtab.planner.jobs.dataset import SplitRows
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.selector import PlanSelector, Screening
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.techniques.routing.plans import trainer_of
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.costs.stage import Doubles
from trimtab.search.plans.cascades import compose
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.replay.cascade import Replay, replay
from trimtab.search.routing.design import RoutedDesign
from trimtab.search.routing.sources import FeatureSource
from trimtab.search.routing.sweep import RoutedPoint, RoutedSweep

_NONE: Doubles = np.zeros(0)
#: What a plan is: one without a router, or an operating point of a routed design.
Plan = ComposedPlan | RoutedPoint


@dataclass(frozen=True)
class RouterMs:
    """Samples of what routers take, by what they look at ('tap 3': of option 3, 'published'), and
    scorers, by their label; the first stages of tap routers in two segments, by option."""

    routers: Mapping[str, Doubles]
    scorers: Mapping[str, Doubles]
    chains: Mapping[int, StageSegments]


@dataclass(frozen=True)
class Material:
    """What all splits have in common."""

    spec: JobSpec
    measured: Sequence[Measured]
    rows: SplitRows
    sight: Sequence[FeatureSource] | None = None
    costs: RouterMs | None = None
    together: Mapping[tuple[int, ...], CascadeCosts] | None = None
    routed_groups: tuple[tuple[int, ...], ...] = ()

    def selector(self, case: tuple[int, bool]) -> PlanSelector:
        """The job on a split: its seed, and whether tune and test are swapped."""
        seed, swapped = case
        rows = self.rows
        total = len(rows.fit) + len(rows.tune) + len(rows.test)
        order = np.random.default_rng(seed).permutation(total)
        halves = order[300:800], order[800:]
        part = SplitRows(
            order[:300], halves[swapped], halves[not swapped], rows.labels, rows.classes
        )
        return PlanSelector(SelectionData.of(self.spec, self.measured, part))


class Split:
    """Everything about one split."""

    def __init__(self, material: Material, selector: PlanSelector) -> None:
        assert material.sight is not None
        assert material.costs is not None
        self._material, self._ms, self.data = material, material.costs, selector.data
        self._problem = selector.problem(material.together)
        screening = Screening(selector.data, self._problem, [], [], 0.0)
        self._teacher = trainer_of(screening, material.sight)
        labels = selector.data.rows.labels
        assert labels is not None
        self._rows, self._labels = selector.data.rows.test, labels[selector.data.rows.test]
        self._every = [option.probabilities for option in selector.data.options]
        self._base = selector.select(material.together).baseline.composed
        self._base_ms, self._base_top1, _ = self._on_test(self._base)

    def figures(self, slacks: Sequence[float]) -> dict[str, Any]:
        """What is `chosen` by each kind of router (speed-up, points, share of time in the router),
        what must be told `beside`, and curves over `slacks`."""
        pools = self._pools()
        chosen = {name: self._fastest(plans, 0.0) for name, plans in pools.items()}
        published = self._published()
        told = {"cascade": chosen["cascade"], "premodel_published": published, **chosen}
        return {
            "chosen": {name: self._outcome(plan) for name, plan in told.items()},
            "label": self._label(chosen["best"]),
            "beside": self._beside(published, chosen["premodel_best"]),
            **{
                f"{name}_curve": [
                    self._outcome(self._fastest(pools[name], slack))[:2] for slack in slacks
                ]
                for name in ("cascade", "best")
            },
        }

    def _pools(self) -> dict[str, list[Plan]]:
        """The plans that each kind of router chooses from."""
        plain: list[Plan] = list(compose(self._problem))
        routed, groups = self._material.routed_groups, self._material.together or {}
        designs = [d for group in routed for d in self._teacher.designs(group)]
        others = [g for g in groups if len(g) > 1 and g not in routed]
        designs += [d for group in others for d in self._teacher.margins(group)]
        routers = [d for d in designs if d.router is not None]
        at_once = {d: self._swept(d, at_once=True) for d in routers if d.rule == "last"}
        behind = [w for d in routers for w in self._swept(d)]
        deferral = [w for d in designs if d.router is None for w in self._swept(d)]
        any_kind = [w for worths in at_once.values() for w in worths]
        taps = [w for d, worths in at_once.items() if d.kind == "tap" for w in worths]
        return {
            "cascade": plain,
            "premodel_tap": taps or [self._base],
            "premodel_best": any_kind,
            "deferral": deferral,
            "best": [*plain, *any_kind, *behind, *deferral],
        }

    def _published(self) -> RoutedPoint:
        found = self._teacher.published(self.data.members, self.data.baseline)
        assert found is not None
        return self._swept(found)[0]

    def _swept(self, design: RoutedDesign, at_once: bool = False) -> list[RoutedPoint]:
        return RoutedSweep(self._problem, design, self._costs(design), at_once).worths()

    def _costs(self, design: RoutedDesign) -> RoutedCosts:
        """Stages as measured together, if they were, with a router of this kind."""
        known = (self._material.together or {}).get(design.options)
        chains = [self.data.whole(option) for option in design.options]
        if known is not None:
            chains = [StageSegments((s,), s.values, s.size_mb) for s in known.stages]
        trained, router, taps = design.router, _NONE, False
        if trained is not None:
            taps = trained.kind == "tap"
            kind = f"tap {design.options[0]}" if taps else design.kind
            router = self._ms.routers[kind]
        if taps:
            chains[0] = self._ms.chains[design.options[0]]
        return RoutedCosts(
            chains,
            router,
            [_NONE if s is None else self._ms.scorers[s.label] for s in design.scorers],
            routed=trained is not None,
            taps=taps,
        )

    def _fastest(self, plans: Sequence[Plan], slack: float) -> Plan:
        """The fastest that is not worse than the baseline on tune, but for a slack; where there is
        none, the most accurate."""
        least = self._base.replayed["top1"] - slack
        good = [plan for plan in plans if plan.guarded["top1"] >= least]
        if good:
            return min(good, key=_tune_ms)
        return max(plans, key=lambda plan: plan.guarded["top1"])

    def _outcome(self, plan: Plan) -> tuple[float, float, float]:
        """Speed-up, points of top-1 and share of the time in the router, on test."""
        took, top1, share = self._on_test(plan)
        return self._base_ms / took, 100 * (top1 - self._base_top1), share

    def _on_test(self, plan: Plan) -> tuple[float, float, float]:
        """Milliseconds, top-1, share of the time in the router."""
        found = self._replayed(plan)
        top1 = float((found.answer == self._labels).mean())
        if isinstance(plan, RoutedPoint):
            costs = self._costs(plan.design)
            took = float(costs.mean_ms(plan.design.path_shares(found)[None])[0])
            return took, top1, costs.router_ms() / took
        paths = self._problem.path_costs(plan.options)
        return float(paths.mean_ms(found.reach(len(plan.options))[None])[0]), top1, 0.0

    def _replayed(self, plan: Plan) -> Replay:
        if isinstance(plan, RoutedPoint):
            return plan.design.replay(self._every, plan.thresholds, plan.price, self._rows)
        own = [self._every[option][self._rows] for option in plan.options]
        return replay(own, plan.rule, plan.thresholds)

    def _beside(self, published: RoutedPoint, trained: Plan) -> dict[str, Any]:
        """What every router must be compared with, on test."""
        data, labels = self.data, self._labels
        right = {i: self._every[i][self._rows].argmax(1) == labels for i in data.members}
        ms = {i: float(data.options[i].cost.total("hot").mean()) for i in data.members}
        cheapest = sorted(data.members, key=lambda i: ms[i])
        solved = np.stack([right[i] for i in cheapest], axis=1)
        spent = np.array([ms[i] for i in cheapest])[solved.argmax(1)]
        assert data.rows.labels is not None
        commonest = np.bincount(data.rows.labels[data.rows.fit]).argmax()
        mixed = self._replayed(trained)
        options = _options(trained)
        random = [
            float((mixed.stage == place).mean()) * float(right[option].mean())
            for place, option in enumerate(options)
        ]
        union = np.any([right[option] for option in published.design.options], axis=0)
        return {
            "union": float(union.mean()),
            "oracle_top1": float(solved.any(1).mean()),
            "oracle_speedup": self._base_ms / float(spent.mean()),
            "random_routing_top1": sum(random),
            "majority_class_top1": float((labels == commonest).mean()),
            "single_top1": {data.options[i].name: float(right[i].mean()) for i in cheapest},
        }

    def _label(self, plan: Plan) -> str:
        names = " → ".join(self.data.options[option].name for option in _options(plan))
        return f"{names}: {plan.design.text}" if isinstance(plan, RoutedPoint) else names


def _options(plan: Plan) -> tuple[int, ...]:
    return plan.design.options if isinstance(plan, RoutedPoint) else plan.options


def _tune_ms(plan: Plan) -> float:
    if isinstance(plan, RoutedPoint):
        return plan.latency_mean_ms
    return plan.costs["latency_mean_ms"]
