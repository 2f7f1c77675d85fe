"""Plans with early exits: find and trace taps, search designs, build the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.db import MeasurementRecord
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.cache.segments import TapEquipment, segment_variant
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.stages import chain_of, overheads_of
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.selection.selector import Screening
from trimtab.planner.techniques.base import BuiltDesign, PlanGenerator, process_values
from trimtab.planner.techniques.exit_points.taps import TapPreparation
from trimtab.search.costs.segmented import SegmentedCosts
from trimtab.search.exits.design import BuiltExits, Early, ExitDesign, ExitPoint
from trimtab.search.exits.search import (
    Base,
    baseline_designs,
    best_designs,
    pareto,
    refined,
    search_base,
    tune_baseline,
)
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.definitions.plan import Structure
from trimtab_runtime.errors import TrimtabError

#: Trials of one base, and bases that early ends are added to.
TRIALS, BASES = 200, 4
#: Operating points of one design that are kept.
POINTS = 12


@dataclass(kw_only=True)
class BuiltExitDesign(BuiltDesign):
    """A design with exits, and the operating points that were found for it."""

    design: ExitDesign
    points: list[ExitPoint]

    @property
    def text(self) -> str:
        return self.design.text


@dataclass
class ExitPlans(PlanGenerator[BuiltExitDesign, SegmentedCosts]):
    """Plans with early exits inside a network, or with a memory."""

    evaluator: CandidateEvaluator
    screening: Screening
    taps: TapPreparation

    def __post_init__(self) -> None:
        self.data = self.screening.data

    def designs(self) -> list[BuiltExitDesign]:
        """Search, and build the best designs and what they must be compared with."""
        bases = self._bases()
        early = self.taps.prepare([i for base in bases for i in base.options])
        quality, least = self.data.quality[0], self.screening.least
        tried: list[ExitPoint] = []
        spec = self.evaluator.job.spec.techniques
        for number, base in enumerate(bases):
            label = self.data.label(base.options)
            self.evaluator.job.journal.step("early exits", label, number, len(bases))
            tried += search_base(
                early,
                base,
                spec.exits,
                spec.memory,
                least,
                TRIALS,
                self.evaluator.job.spec.workload.splits.seed,
            )
        self.evaluator.job.journal.step("early exits", "", 1, 1)
        self._explain(bases, tried)
        count = max(2, self.evaluator.job.spec.together // 2)
        found = best_designs(tried, quality, least, count)
        if spec.memory:
            found += [
                self._tuned(early, design)
                for design in baseline_designs(early, bases[0].options[0])
            ]
        built = []
        for points in found:
            try:
                with one_step():
                    built.append(self._build(points))
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                self.evaluator.job.journal.note(
                    "error", self.data.label(points[0].design.options), str(error)
                )
        return built

    def plans(
        self, measured: Sequence[tuple[BuiltExitDesign, SegmentedCosts]]
    ) -> list[ComposedPlan]:
        """Operating points of all designs, now that each was measured as it is."""
        if self.taps.early is None:
            return []
        early = replace(self.taps.early, measured={b.design.key: costs for b, costs in measured})
        quality, least = self.data.quality[0], self.screening.least
        found = []
        for built, costs in measured:
            again = [early.worth(point.design, point.thresholds) for point in built.points]
            if not built.design.label:
                again = pareto(refined(early, again), quality, least, POINTS)
            found += [self._composed(early, built, costs, point) for point in again]
        return found

    def costs(self, built: BuiltExitDesign, visits: Sequence[MeasurementRecord]) -> SegmentedCosts:
        """What a built design costs, measured as it is."""
        chains, position = [], 0
        for part in built.parts:
            count = len(part.cut.segments) if part.cut else 1
            chains.append(chain_of(part, visits, self.data.pace, position, count))
            position += count
        overheads = overheads_of(visits, self.data.pace)
        return SegmentedCosts(chains, overheads, process_values(visits), self.data.correction)

    def _bases(self) -> list[Base]:
        """The baseline, and the cheapest good plans without early ends."""
        found = [Base((self.data.sharing(self.data.baseline),))]
        for plan in self.screening.cheapest:
            options = tuple(self.data.sharing(index) for index in plan.options)
            base = Base(options, plan.rule, plan.thresholds)
            if all(base.options != other.options for other in found):
                found.append(base)
        return found[:BASES]

    def _tuned(self, early: Early, design: ExitDesign) -> list[ExitPoint]:
        """A baseline at the threshold that is fastest without losing quality; where none is,
        with the least loss."""
        quality, least = self.data.quality[0], self.screening.least
        tried = tune_baseline(early, design)
        good = [worth for worth in tried if worth.guarded[quality] >= least]
        if good:
            return [min(good, key=lambda worth: worth.latency_mean_ms)]
        return [max(tried, key=lambda worth: worth.guarded[quality])]

    def _build(self, points: list[ExitPoint]) -> BuiltExitDesign:
        """Cut and equip what the design asks for."""
        design, job = points[0].design, self.evaluator.job
        stages, parts = [], []
        for index, taps in zip(design.options, design.taps, strict=True):
            found, stage = self.data.measured[index], self.data.options[index].stage
            if taps:
                places: list[TapEquipment] = self.taps.fitted[index].places(taps, design.published)
                cut = segment_variant(
                    job.store, found.built, places, job.spec.budget.stall_seconds
                )
                stage = replace(stage, exits=cut.exits)
                parts.append(StageSetup(found.built, stage.options, cut))
            else:
                parts.append(StageSetup(found.built, stage.options))
            stages.append(stage)
        route = "single" if len(stages) == 1 else "cascade"
        structure = Structure(route, tuple(stages), design.rule, design.memory)
        return BuiltExitDesign(structure=structure, parts=parts, design=design, points=points)

    def _composed(
        self, early: Early, one: BuiltExitDesign, costs: SegmentedCosts, worth: ExitPoint
    ) -> ComposedPlan:
        reach = np.array(worth.reach)
        starts = np.cumsum([1, *(len(p.cut.segments) if p.cut else 1 for p in one.parts)])[:-1]
        return ComposedPlan(
            one.design.options,
            one.design.rule,
            worth.thresholds.stages,
            tuple(float(reach[start]) for start in starts),
            worth.replayed,
            worth.guarded,
            {
                **costs.known(reach, self.screening.problem.percentiles),
                "latency_mean_ms": worth.latency_mean_ms,
            },
            BuiltExits(
                early,
                one.design,
                one.structure,
                worth.thresholds.exits,
                worth.reach,
                worth.latency_error_ms,
            ),
        )

    def _explain(self, bases: Sequence[Base], tried: Sequence[ExitPoint]) -> None:
        """Whether early ends pay on each base: what taps cost against what they save."""
        quality, least = self.data.quality[0], self.screening.least
        for base in bases:
            option = self.data.options[base.options[0]]
            if len(base.options) > 1 or base.options[0] not in self.taps.fitted:
                continue
            chain, plain = self.taps.chains[base.options[0]], option.cost
            whole = float(plain.total("hot").mean())
            cut = sum(float(segment.total("hot").mean()) for segment in chain.segments)
            own = [w for w in tried if w.design.options == base.options]
            good = [w for w in own if w.guarded[quality] >= least]
            best = min((w.latency_mean_ms for w in good), default=None)
            taps = len(chain.segments) - 1
            cost = f"its {taps} taps cost {cut - whole:+.2f} ms a frame ({cut / whole - 1:+.1%})"
            if best is None:
                text = f"{cost}, and no plan with early exits keeps the baseline's {quality}"
            else:
                text = (
                    f"{cost}; the fastest plan with early exits that keeps {quality} takes "
                    f"{best:.2f} ms, the whole network {whole:.2f} ms"
                )
            self.taps.say(option.name, text)

    def summary(self) -> JobSummary:
        """What came of each variant, and how far (share of the variant's measured time) each of
        its taps lies."""
        return {"early": {"reasons": self.taps.reasons, "taps": self.taps.shares}}
