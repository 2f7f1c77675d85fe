"""Plans that stop early: taps found and traced, designs searched, the best ones built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.db import MeasurementRecord
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.cache.segments import TapEquipment, segment_variant
from trimtab.planner.candidates.stages import chain_of, overheads_of, process_values
from trimtab.planner.selection.selector import PlanSelector
from trimtab.planner.techniques.early_exits.taps import TapPreparation
from trimtab.profilers import DeviceLost
from trimtab.search.costs.segmented import SegmentedCosts
from trimtab.search.exits.design import BuiltExits, ExitDesign, ExitPoint
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
from trimtab_runtime.errors import StoreError, TrimtabError

if TYPE_CHECKING:
    from trimtab.planner.pipeline.run import Run

#: Trials of one base, and bases that early ends are added to.
TRIALS, BASES = 200, 4
#: Operating points of one design that are kept.
POINTS = 12


@dataclass
class BuiltExitDesign:
    """A design with the files it is built of, and the operating points that were found for it."""

    design: ExitDesign
    structure: Structure
    parts: list[StageSetup]
    size_mb: float
    worths: list[ExitPoint]
    costs: SegmentedCosts | None = None


@dataclass
class EarlyExitTechnique:
    """The part of a run that looks for plans that stop early. `reasons` say, variant by variant,
    what came of it."""

    run: Run
    choice: PlanSelector
    reasons: dict[str, str] = field(default_factory=dict)

    def designs(self) -> list[BuiltExitDesign]:
        """Search, and build the best designs and what they must be compared with."""
        bases = self._bases()
        self.tapping = TapPreparation(self.run, self.choice, self._say)
        self.early = self.tapping.early([i for base in bases for i in base.options])
        quality, least = self.choice.quality[0], self.choice.least
        tried: list[ExitPoint] = []
        spec = self.run.spec.techniques
        for number, base in enumerate(bases):
            label = " → ".join(self.choice.options[index].name for index in base.options)
            self.run.journal.step("early exits", label, number, len(bases))
            tried += search_base(
                self.early,
                base,
                spec.exits,
                spec.memory,
                least,
                TRIALS,
                self.run.spec.workload.splits.seed,
            )
        self.run.journal.step("early exits", "", 1, 1)
        self._explain(bases, tried)
        count = max(2, self.run.spec.together // 2)
        found = best_designs(tried, quality, least, count)
        if spec.memory:
            found += [
                self._tuned(design) for design in baseline_designs(self.early, bases[0].options[0])
            ]
        built = []
        for worths in found:
            try:
                built.append(self._build(worths))
            except (StoreError, DeviceLost):
                raise
            except TrimtabError as error:
                self.run.journal.note("error", self._name(worths[0].design), str(error))
        return built

    def plans(self, built: Sequence[BuiltExitDesign]) -> list[ComposedPlan]:
        """Operating points of all designs, now that each was measured as it is."""
        measured = {b.design.key: b.costs for b in built if b.costs is not None}
        self.early = replace(self.early, measured=measured)
        self.choice.early = self.early
        found = []
        for one in built:
            if one.costs is None:
                continue
            again = [self.early.worth(w.design, w.thresholds) for w in one.worths]
            if not one.design.label:
                again = pareto(
                    refined(self.early, again), self.choice.quality[0], self.choice.least, POINTS
                )
            found += [self._composed(one, worth) for worth in again]
        return found

    def costs(self, one: BuiltExitDesign, visits: Sequence[MeasurementRecord]) -> SegmentedCosts:
        """What a built design costs, measured as it is."""
        chains, position = [], 0
        for part in one.parts:
            count = len(part.cut.segments) if part.cut else 1
            chains.append(chain_of(part, visits, self.choice.reference_ms, position, count))
            position += count
        overheads = overheads_of(visits, self.choice.reference_ms)
        return SegmentedCosts(chains, overheads, process_values(visits), self.choice.correction)

    def _bases(self) -> list[Base]:
        """The baseline, and the cheapest good plans without early ends."""
        found = [Base((self._cuttable(self.choice.baseline),))]
        for plan in self.choice.cheapest:
            options = tuple(self._cuttable(index) for index in plan.options)
            base = Base(options, plan.rule, plan.thresholds)
            if all(base.options != other.options for other in found):
                found.append(base)
        return found[:BASES]

    def _cuttable(self, index: int) -> int:
        """An option or, where its threads spin, the one of its variant that may live in segments
        (sessions that share a process)."""
        options = self.choice.options
        wanted = options[index].stage
        if not wanted.options.spinning:
            return index
        others = (i for i, o in enumerate(options) if o.stage.variant == wanted.variant)
        return next((i for i in others if not options[i].alone), index)

    def _tuned(self, design: ExitDesign) -> list[ExitPoint]:
        """A baseline at the threshold that is fastest without losing quality; where none is,
        with the least loss."""
        quality, least = self.choice.quality[0], self.choice.least
        tried = tune_baseline(self.early, design)
        good = [worth for worth in tried if worth.guarded[quality] >= least]
        if good:
            return [min(good, key=lambda worth: worth.latency_mean_ms)]
        return [max(tried, key=lambda worth: worth.guarded[quality])]

    def _build(self, worths: list[ExitPoint]) -> BuiltExitDesign:
        """Cut and equip what the design asks for."""
        design = worths[0].design
        stages, parts, size_mb = [], [], 0.0
        for index, taps in zip(design.options, design.taps, strict=True):
            found, stage = self.choice.measured[index], self.choice.options[index].stage
            if taps:
                places: list[TapEquipment] = self.tapping.fitted[index].places(
                    taps, design.published
                )
                cut = segment_variant(self.run.store, found.built, places)
                stage = replace(stage, exits=cut.exits)
                parts.append(StageSetup(found.built, stage.options, cut))
                size_mb += cut.size_mb
            else:
                parts.append(StageSetup(found.built, stage.options))
                size_mb += found.built.variant.size_bytes / 2**20
            stages.append(stage)
        route = "single" if len(stages) == 1 else "cascade"
        structure = Structure(route, tuple(stages), design.rule, design.memory)
        return BuiltExitDesign(design, structure, parts, size_mb, worths)

    def _composed(self, one: BuiltExitDesign, worth: ExitPoint) -> ComposedPlan:
        assert one.costs is not None
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
                **one.costs.known(reach, self.choice.problem.percentiles),
                "latency_mean_ms": worth.latency_mean_ms,
            },
            BuiltExits(
                one.design,
                one.structure,
                worth.thresholds.exits,
                worth.reach,
                worth.latency_error_ms,
            ),
        )

    def _explain(self, bases: Sequence[Base], tried: Sequence[ExitPoint]) -> None:
        """Whether early ends pay on each base: what taps cost against what they save."""
        quality, least = self.choice.quality[0], self.choice.least
        for base in bases:
            option = self.choice.options[base.options[0]]
            if len(base.options) > 1 or base.options[0] not in self.tapping.fitted:
                continue
            chain, plain = self.tapping.chains[base.options[0]], option.cost
            whole = float(plain.total("hot").mean())
            cut = sum(float(segment.total("hot").mean()) for segment in chain.segments)
            own = [w for w in tried if w.design.options == base.options]
            good = [w for w in own if w.guarded[quality] >= least]
            best = min((w.latency_mean_ms for w in good), default=None)
            taps = len(chain.segments) - 1
            cost = f"its {taps} taps cost {cut - whole:+.2f} ms a frame ({cut / whole - 1:+.1%})"
            if best is None:
                text = f"{cost}, and nothing that stops early keeps the baseline's {quality}"
            else:
                text = (
                    f"{cost}; the fastest early plan that keeps {quality} takes "
                    f"{best:.2f} ms, the whole network {whole:.2f} ms"
                )
            self._say(option.name, text)

    def summary(self) -> dict[str, Any]:
        """For the job's summary: what came of each variant, and how far (share of the variant's
        measured time) each of its taps lies."""
        return {"reasons": self.reasons, "taps": self.tapping.shares}

    def _say(self, name: str, text: str) -> None:
        self.reasons[name] = text
        self.run.journal.note("info", name, text)

    def _name(self, design: ExitDesign) -> str:
        return " → ".join(self.choice.options[index].name for index in design.options)
