"""Plans with a router or learned deferral: trained on `fit`, selected on `tune`, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trimtab.db import MeasurementRecord, VariantRecord
from trimtab.planner.cache.keys import decider_lineage, variant_key
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.cache.segments import SegmentedVariant, segment_variant
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.stages import chain_of, one_per_variant, visit_of
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.selection.selector import Screening
from trimtab.planner.techniques.base import BuiltDesign, PlanGenerator, process_values
from trimtab.planner.techniques.exit_points.taps import TapPreparation
from trimtab.planner.techniques.routing.features import FEATURES, RouterFeatures
from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.routing.design import BuiltRouted, RoutedDesign
from trimtab.search.routing.heads import headed_worths, with_heads
from trimtab.search.routing.sources import FeatureSource
from trimtab.search.routing.sweep import RoutedPoint, RoutedSweep, best_designs
from trimtab.search.routing.training import RouterTargets, RouterTrainer
from trimtab_runtime.definitions.plan import Stage, Structure
from trimtab_runtime.definitions.routers import Router, Scorer

Doubles = NDArray[np.float64]

#: Groups of options that routers are trained for.
GROUPS = 4
#: Designs that are also tried with heads inside their stages.
HEADED = 2
#: Images of fit below which nothing can be learned of them.
FEWEST = 40
#: Milliseconds that scorers are taken to cost until they have been measured.
EXPECTED_SCORER_MS = 0.05
_NONE: Doubles = np.zeros(0)


@dataclass(kw_only=True)
class BuiltRoutedDesign(BuiltDesign):
    """A routed design; `further_mb` is the size of the files of router and scorers."""

    design: RoutedDesign
    further_mb: float

    @property
    def text(self) -> str:
        names = " + ".join(part.built.variant.name for part in self.parts)
        return f"{names}: {self.design.text}"


def trainer_of(screening: Screening, sources: Sequence[FeatureSource]) -> RouterTrainer:
    """Trains on the rows of fit, and nothing else."""
    data = screening.data
    fit = data.rows.fit
    targets = RouterTargets.of(one_per_variant(data.options), fit, data.taught_by[fit])
    return RouterTrainer(screening.problem, targets, sources)


@dataclass
class RoutedPlans(PlanGenerator[BuiltRoutedDesign, RoutedCosts]):
    """Plans with a router or with learned deferral; heads may answer inside their stages where
    `taps` were prepared."""

    evaluator: CandidateEvaluator
    screening: Screening
    taps: TapPreparation

    def __post_init__(self) -> None:
        self.data = self.screening.data
        self.features = RouterFeatures(self.evaluator, self.data)

    def designs(self) -> list[BuiltRoutedDesign]:
        """Train, and build the best designs and the router as published."""
        groups, inputs = self._groups(), len(self.data.rows.fit)
        if not groups or inputs < FEWEST:
            few = f"the calibration split (fit) has {inputs} images, routers need {FEWEST}"
            self.features.say(
                "routers", few if groups else "with one model there is nothing to route"
            )
            return []
        trainer = trainer_of(self.screening, self.features.sources(groups))
        members = [self.data.sharing(index) for index in self.data.members]
        base = self.data.sharing(self.data.baseline)
        published = self.features.tried("as published", lambda: trainer.published(members, base))
        designs = list[RoutedDesign]()
        for number, group in enumerate(groups):
            names = self.data.label(group)
            self.evaluator.job.journal.step("routers", names, number, len(groups))
            designs += self.features.tried(names, partial(trainer.designs, group)) or []
        self.evaluator.job.journal.step("routers", "", 1, 1)
        worths = [w for design in designs for w in self._sweep(design, self._expected(design))]
        quality, least = self.data.quality[0], self.screening.least
        found = best_designs(worths, quality, least, max(2, self.evaluator.job.spec.together // 2))
        found += [*self._headed(found), *([published] if published else [])]
        built = (self.features.tried(d.text, partial(self.build, d)) for d in found)
        return [one for one in built if one is not None]

    def _headed(self, designs: Sequence[RoutedDesign]) -> list[RoutedDesign]:
        """The best of these with heads in their stages too. (A certificate is of plans that the
        full network can be compared with; these have none.)"""
        early = self.taps.early
        if (
            early is None
            or not self.evaluator.job.spec.techniques.exits
            or self.evaluator.job.spec.certify
        ):
            return []
        found = (with_heads(design, early) for design in designs)
        return [design for design in found if design is not None][:HEADED]

    def costs(self, built: BuiltRoutedDesign, visits: Sequence[MeasurementRecord]) -> RoutedCosts:
        """What a built design costs, measured as it is."""
        chains, scorers, position = [], list[Doubles](), 0
        for part in built.parts:
            count = len(part.cut.segments) if part.cut else 1
            chains.append(chain_of(part, visits, self.data.pace, position, count))
            last = chains[-1].segments[-1].samples
            scorers.append(last["scorer_ms"] if part.scorer else _NONE)
            position += count
        trained = built.design.router
        return RoutedCosts(
            chains,
            self._router_ms(visits) if trained else _NONE,
            scorers,
            routed=trained is not None,
            taps=built.design.reads_tap,
            further_mb=built.further_mb,
            together=process_values(visits),
            correction=self.data.correction,
            ends=built.design.ends,
        )

    def plans(
        self, measured: Sequence[tuple[BuiltRoutedDesign, RoutedCosts]]
    ) -> list[ComposedPlan]:
        """Operating points of all designs, now that each was measured as it is."""
        return [
            self._composed(built, costs, point)
            for built, costs in measured
            for point in self._sweep(built.design, costs)
        ]

    def summary(self) -> JobSummary:
        """Why what could not be had could not."""
        return {"routed": self.features.reasons}

    def _groups(self) -> list[tuple[int, ...]]:
        """Options to be routed among: of the cheapest good cascades, and the fastest member with
        the baseline."""
        data = self.data
        found = [plan.options for plan in self.screening.cheapest if len(plan.options) > 1]

        def ms(index: int) -> float:
            return float(data.options[index].cost.total("beside").mean())

        fastest, base = (self.data.sharing(i) for i in (min(data.members, key=ms), data.baseline))
        if fastest != base:
            found.append((fastest, base))
        return list(dict.fromkeys(found))[:GROUPS]

    def _expected(self, design: RoutedDesign) -> RoutedCosts:
        """Costs before the design was measured as it is."""
        trained = design.router
        router = np.full(1, FEATURES[trained.kind].expected_ms) if trained else _NONE
        scorer = np.full(1, EXPECTED_SCORER_MS)
        return RoutedCosts(
            [self.data.whole(option) for option in design.options],
            router,
            [_NONE if one is None else scorer for one in design.scorers],
            routed=trained is not None,
            correction=self.data.correction,
        )

    def _sweep(self, design: RoutedDesign, costs: RoutedCosts) -> list[RoutedPoint]:
        if design.heads is None:
            return RoutedSweep(self.screening.problem, design, costs).worths()
        plain = replace(design, heads=None)
        bases = self._sweep(plain, self._expected(plain))
        return headed_worths(self.screening.problem, design, costs, bases)

    def build(self, design: RoutedDesign) -> BuiltRoutedDesign:
        """Keep the files of what was learned, and say how they make a plan."""
        trained, stages, parts = design.router, list[Stage](), list[StageSetup]()
        further = 0
        for number, (option, scorer) in enumerate(
            zip(design.options, design.scorers, strict=True)
        ):
            found, stage = self.data.measured[option], self.data.options[option].stage
            cut = self._cut(design, number)
            sha = None if scorer is None else self._keep(scorer.file, "scorer", design)
            further += 0 if scorer is None else len(scorer.file)
            stages.append(
                replace(
                    stage,
                    exits=cut.exits if cut else None,
                    scorer=None if sha is None else Scorer(sha),
                )
            )
            parts.append(StageSetup(found.built, stage.options, cut, sha))
        router = None
        if trained is not None:
            sha = self._keep(trained.file, "router", design)
            further += len(trained.file)
            router = Router(sha, trained.kind, design.costs_ms, trained.names, trained.input)
        route = "cascade" if router is None else "premodel"
        structure = Structure(route, tuple(stages), design.rule, router=router)
        return BuiltRoutedDesign(
            structure=structure, parts=parts, design=design, further_mb=further / 2**20
        )

    def _cut(self, design: RoutedDesign, number: int) -> SegmentedVariant | None:
        """A stage at the taps of router and heads; None where it has none."""
        option = design.options[number]
        places = [self.features.firsts[option]] if design.reads_tap and number == 0 else []
        if design.heads is not None and design.heads.taps[number]:
            places += self.taps.fitted[option].places(design.heads.taps[number], False)
        built = self.data.measured[option].built
        if not places:
            return None
        job = self.evaluator.job
        return segment_variant(job.store, built, places, job.spec.budget.stall_seconds)

    def _keep(self, file: bytes, step: str, design: RoutedDesign) -> str:
        """Store a router or a scorer with what it was made from; its sha256."""
        store = self.evaluator.job.store
        first = self.data.measured[design.options[0]].built
        name = f"{first.variant.name} {step}"
        artefact = store.save_bytes(file, kind=step, name=f"{name}.onnx")
        parents = [self.data.measured[option].built.key for option in design.options]
        lineage = decider_lineage(step, parents, artefact.sha256)
        store.put_variant(
            VariantRecord(
                key=variant_key(lineage),
                member=first.member,
                name=name,
                format="onnx",
                artefact_sha256=artefact.sha256,
                size_bytes=artefact.size_bytes,
                recipe={**lineage, "by": design.text},
                io={},
            )
        )
        return artefact.sha256

    def _router_ms(self, visits: Sequence[MeasurementRecord]) -> Doubles:
        factors = self.data.pace.factors(map(visit_of, visits))
        return np.concatenate(
            [
                np.asarray(visit.samples["router_ms"]) * factor
                for visit, factor in zip(visits, factors, strict=True)
            ]
        )

    def _composed(
        self, one: BuiltRoutedDesign, costs: RoutedCosts, worth: RoutedPoint
    ) -> ComposedPlan:
        shares = np.array(worth.paths)
        return ComposedPlan(
            one.design.options,
            one.design.rule,
            worth.thresholds,
            worth.reach,
            worth.replayed,
            worth.guarded,
            {
                **costs.known(shares, self.screening.problem.percentiles),
                "latency_mean_ms": worth.latency_mean_ms,
            },
            BuiltRouted(
                one.design,
                [option.probabilities for option in self.data.options],
                one.structure,
                worth.price,
                worth.paths,
                costs,
                worth.exits,
            ),
        )
