"""Plans with a premodel or with learned deferral: trained on `fit`, chosen on `tune`, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trimtab.db import MeasurementRecord, VariantRecord
from trimtab.planner.cache.keys import decider_lineage, variant_key
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.cache.segments import SegmentedVariant, segment_variant
from trimtab.planner.candidates.stages import chain_of, one_per_variant
from trimtab.planner.selection.selector import PlanSelector
from trimtab.planner.techniques.early_exits.taps import TapPreparation
from trimtab.planner.techniques.routing.features import RouterFeatures
from trimtab.search.costs.routed import RoutedCosts
from trimtab.search.costs.stage import pace_ms
from trimtab.search.plans.plan import ComposedPlan
from trimtab.search.routing.design import BuiltRouted, RoutedDesign
from trimtab.search.routing.heads import headed_worths, with_heads
from trimtab.search.routing.sweep import RoutedPoint, RoutedSweep, best_designs
from trimtab.search.routing.training import RouterInputs, RouterTargets, RouterTrainer
from trimtab_runtime.definitions.plan import Stage, Structure
from trimtab_runtime.definitions.routers import Router, Scorer

if TYPE_CHECKING:
    from trimtab.planner.pipeline.run import Run

Doubles = NDArray[np.float64]

#: Groups of options that routers are trained for.
GROUPS = 4
#: Designs that are also tried with heads inside their stages.
HEADED = 2
#: Images of fit below which nothing can be learned of them.
FEWEST = 40
#: Milliseconds that routers are taken to cost until they have been measured, by what they look at;
#: and scorers.
EXPECTED_MS = {"image": 1.5, "tensor": 0.5, "tap": 0.03}
EXPECTED_SCORER_MS = 0.05
_NONE: Doubles = np.zeros(0)


@dataclass
class BuiltRoutedDesign:
    """A design with the files it is built of, and what it costs once it has been measured."""

    design: RoutedDesign
    structure: Structure
    parts: list[StageSetup]
    further_mb: float
    costs: RoutedCosts | None = None

    @property
    def text(self) -> str:
        names = " + ".join(part.built.variant.name for part in self.parts)
        return f"{names}: {self.design.text}"


def teacher_of(choice: PlanSelector, sight: RouterInputs) -> RouterTrainer:
    """Teaches what the rows of fit tell, and nothing else."""
    fit = choice.rows.fit
    lessons = RouterTargets.of(one_per_variant(choice.options), fit, choice.taught_by[fit])
    return RouterTrainer(choice.problem, lessons, sight)


@dataclass
class RoutingTechnique:
    """The part of a run that looks for routed plans; with `tapping`, where heads may answer
    inside their stages."""

    run: Run
    choice: PlanSelector
    tapping: TapPreparation | None = None

    def __post_init__(self) -> None:
        self.looking = RouterFeatures(self.run, self.choice)

    def designs(self) -> list[BuiltRoutedDesign]:
        """Train, and build the best designs and the premodel as published."""
        groups, inputs = self._groups(), len(self.choice.rows.fit)
        if not groups or inputs < FEWEST:
            few = f"fit has {inputs} images, they need {FEWEST}"
            self.looking.say("routers", few if groups else "one model leaves nothing to route")
            return []
        teacher = teacher_of(self.choice, self.looking.sight(groups))
        members = [self._beside(index) for index in self.choice.members]
        base = self._beside(self.choice.baseline)
        published = self.looking.tried("as published", lambda: teacher.published(members, base))
        designs = list[RoutedDesign]()
        for number, group in enumerate(groups):
            names = " → ".join(self.choice.options[index].name for index in group)
            self.run.journal.step("routers", names, number, len(groups))
            designs += self.looking.tried(names, partial(teacher.designs, group)) or []
        self.run.journal.step("routers", "", 1, 1)
        worths = [w for design in designs for w in self._sweep(design, self._expected(design))]
        quality, least = self.choice.quality[0], self.choice.least
        found = best_designs(worths, quality, least, max(2, self.run.spec.together // 2))
        found += [*self._headed(found), *([published] if published else [])]
        built = (self.looking.tried(d.text, partial(self.build, d)) for d in found)
        return [one for one in built if one is not None]

    def _headed(self, designs: Sequence[RoutedDesign]) -> list[RoutedDesign]:
        """The best of these with heads in their stages too. (A certificate is of plans that the
        full network can be compared with; these have none.)"""
        early = self.choice.early
        if early is None or not self.run.spec.techniques.exits or self.run.spec.certify:
            return []
        found = (with_heads(design, early) for design in designs)
        return [design for design in found if design is not None][:HEADED]

    def costs(self, one: BuiltRoutedDesign, visits: Sequence[MeasurementRecord]) -> RoutedCosts:
        """What a built design costs, measured as it is."""
        chains, scorers, position = [], list[Doubles](), 0
        for part in one.parts:
            count = len(part.cut.segments) if part.cut else 1
            chains.append(chain_of(part, visits, self.choice.reference_ms, position, count))
            last = chains[-1].segments[-1].samples
            scorers.append(last["scorer_ms"] if part.scorer else _NONE)
            position += count
        values = [visit.values for visit in visits]
        together = {
            name: float(np.mean([value[name] for value in values]))
            for name in ("load_ms", "peak_mb")
            if all(name in value for value in values)
        }
        premodel = one.design.premodel
        return RoutedCosts(
            chains,
            self._router_ms(visits) if premodel else _NONE,
            scorers,
            routed=premodel is not None,
            taps=premodel is not None and premodel.kind == "tap",
            further_mb=one.further_mb,
            together=together,
            correction=self.choice.correction,
            ends=one.design.ends,
        )

    def plans(self, built: Sequence[BuiltRoutedDesign]) -> list[ComposedPlan]:
        """Operating points of all designs, now that each was measured as it is."""
        return [
            self._composed(one, worth)
            for one in built
            if one.costs is not None
            for worth in self._sweep(one.design, one.costs)
        ]

    def _groups(self) -> list[tuple[int, ...]]:
        """Options to be routed among: of the cheapest good cascades, and the fastest member with
        the baseline."""
        choice = self.choice
        found = [plan.options for plan in choice.cheapest if len(plan.options) > 1]
        problem = choice.problem

        def ms(index: int) -> float:
            return float(problem.options[index].cost.total("beside").mean())

        fastest, base = (self._beside(i) for i in (min(choice.members, key=ms), choice.baseline))
        if fastest != base:
            found.append((fastest, base))
        return list(dict.fromkeys(found))[:GROUPS]

    def _beside(self, index: int) -> int:
        """An option or, where its threads spin, the one of its variant that may share."""
        options = self.choice.options
        if not options[index].stage.options.spinning:
            return index
        variant = options[index].stage.variant
        others = (i for i, option in enumerate(options) if option.stage.variant == variant)
        return next((i for i in others if not options[i].alone), index)

    def _expected(self, design: RoutedDesign) -> RoutedCosts:
        """Costs before the design was measured as it is."""
        premodel = design.premodel
        router = np.full(1, EXPECTED_MS[premodel.kind]) if premodel else _NONE
        scorer = np.full(1, EXPECTED_SCORER_MS)
        return RoutedCosts(
            [self.choice.whole_chain(option) for option in design.options],
            router,
            [_NONE if one is None else scorer for one in design.scorers],
            routed=premodel is not None,
            correction=self.choice.correction,
        )

    def _sweep(self, design: RoutedDesign, costs: RoutedCosts) -> list[RoutedPoint]:
        if design.heads is None:
            return RoutedSweep(self.choice.problem, design, costs).worths()
        plain = replace(design, heads=None)
        bases = self._sweep(plain, self._expected(plain))
        return headed_worths(self.choice.problem, design, costs, bases)

    def build(self, design: RoutedDesign) -> BuiltRoutedDesign:
        """Keep the files of what was learned, and say how they make a plan."""
        premodel, stages, parts = design.premodel, list[Stage](), list[StageSetup]()
        further = 0
        for number, (option, scorer) in enumerate(
            zip(design.options, design.scorers, strict=True)
        ):
            found, stage = self.choice.measured[option], self.choice.options[option].stage
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
        if premodel is not None:
            sha = self._keep(premodel.file, "router", design)
            further += len(premodel.file)
            router = Router(sha, premodel.kind, design.costs_ms, premodel.names, premodel.input)
        route = "cascade" if router is None else "premodel"
        structure = Structure(route, tuple(stages), design.rule, router=router)
        return BuiltRoutedDesign(design, structure, parts, further / 2**20)

    def _cut(self, design: RoutedDesign, number: int) -> SegmentedVariant | None:
        """A stage at the taps of router and heads; None where it has none."""
        option = design.options[number]
        places = [self.looking.firsts[option]] if design.reads_tap and number == 0 else []
        if design.heads is not None and design.heads.taps[number]:
            assert self.tapping is not None
            places += self.tapping.fitted[option].places(design.heads.taps[number], False)
        built = self.choice.measured[option].built
        return segment_variant(self.run.store, built, places) if places else None

    def _keep(self, file: bytes, step: str, design: RoutedDesign) -> str:
        """Store a router or a scorer with what it was made from; its sha256."""
        store = self.run.store
        first = self.choice.measured[design.options[0]].built
        name = f"{first.variant.name} {step}"
        artefact = store.save_bytes(file, kind=step, name=f"{name}.onnx")
        parents = [self.choice.measured[option].built.key for option in design.options]
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
        scale = self.choice.reference_ms
        return np.concatenate(
            [
                np.asarray(visit.samples["router_ms"])
                * (scale / pace_ms(visit.samples["reference_ms"]))
                for visit in visits
            ]
        )

    def _composed(self, one: BuiltRoutedDesign, worth: RoutedPoint) -> ComposedPlan:
        assert one.costs is not None
        shares = np.array(worth.paths)
        return ComposedPlan(
            one.design.options,
            one.design.rule,
            worth.thresholds,
            worth.reach,
            worth.replayed,
            worth.guarded,
            {
                "latency_mean_ms": worth.latency_mean_ms,
                **one.costs.fixed(),
                **(one.costs.percentiles(shares) if self.choice.problem.percentiles else {}),
            },
            routed=BuiltRouted(
                one.design, one.structure, worth.price, worth.paths, one.costs, worth.exits
            ),
        )
