"""Plans that stop early: taps found and traced, designs searched, the best ones built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from db import MeasurementRecord
from planner.choosing import Choice
from planner.cutting import Place, bare_place, cut_variant
from planner.equipping import Fitted, equip
from planner.profiles import Part
from planner.stages import chain_of, overheads_of
from search.compose import Composed
from search.early import BuiltEarly, Design, Early, Worth
from search.early_search import (
    Base,
    baseline_designs,
    best_designs,
    pareto,
    refined,
    search_base,
    tune_baseline,
)
from search.quality import Floats
from search.step_costs import Chain, Overheads, StepCosts
from trimtab_runtime.definition import Structure
from trimtab_runtime.errors import StoreError, TrimtabError
from trimtab_runtime.exits import NO_MEMORY, Centres, Memory
from variants import usable_taps

if TYPE_CHECKING:
    from planner.run import Run

#: Taps of one variant that are considered, trials of one base, and bases that early ends are
#: added to.
TAPS, TRIALS, BASES = 8, 200, 4
#: Operating points of one design that are kept.
POINTS = 12
#: What a plan remembers while its look-ups are measured for the search.
_SCREENED = Memory(thumbnails=32)


@dataclass
class BuiltDesign:
    """A design with the files it is built of, and the operating points that were found for it."""

    design: Design
    structure: Structure
    parts: list[Part]
    size_mb: float
    worths: list[Worth]
    costs: StepCosts | None = None


@dataclass
class EarlyPlans:
    """The part of a run that looks for plans that stop early. `reasons` say, variant by variant,
    what came of it."""

    run: Run
    choice: Choice
    reasons: dict[str, str] = field(default_factory=dict)
    shares: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def designs(self) -> list[BuiltDesign]:
        """Search, and build the best designs and what they must be compared with."""
        bases = self._bases()
        self.early = self._early(bases)
        quality, least = self.choice.quality[0], self.choice.least
        tried: list[Worth] = []
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
            except StoreError:
                raise
            except TrimtabError as error:
                self.run.journal.note("error", self._name(worths[0].design), str(error))
        return built

    def plans(self, built: Sequence[BuiltDesign]) -> list[Composed]:
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

    def costs(self, one: BuiltDesign, visits: Sequence[MeasurementRecord]) -> StepCosts:
        """What a built design costs, measured as it is."""
        chains, position = [], 0
        for part in one.parts:
            count = len(part.cut.segments) if part.cut else 1
            chains.append(chain_of(part, visits, self.choice.reference_ms, position, count))
            position += count
        together = {
            name: float(np.mean([visit.values[name] for visit in visits]))
            for name in ("load_ms", "peak_mb")
            if all(name in visit.values for visit in visits)
        }
        overheads = overheads_of(visits, self.choice.reference_ms)
        return StepCosts(chains, overheads, together, self.choice.correction)

    def _bases(self) -> list[Base]:
        """The baseline, and the cheapest good plans without early ends."""
        found = [Base((self._cuttable(self.choice.baseline),))]
        for plan in self.choice.cheapest():
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

    def _early(self, bases: Sequence[Base]) -> Early:
        choice = self.choice
        self.fitted: dict[int, Fitted] = {}
        chains: dict[int, Chain] = {}
        self._overheads = self._measured_overheads(bases[0].options[0])
        self._thumbnails: Floats | None = None
        for index in dict.fromkeys(i for base in bases for i in base.options):
            chains[index] = choice.whole_chain(index)
            name = choice.options[index].name
            try:
                self._tap(index, chains)
            except StoreError:
                raise
            except TrimtabError as error:
                self.fitted.pop(index, None)
                self._say(name, f"cannot stop early: {error}")
        if self._thumbnails is None:
            self._thumbnails = self._traced_thumbnails(bases[0].options[0])
        return Early(
            choice.problem,
            self._thumbnails,
            {index: fitted.tapped for index, fitted in self.fitted.items()},
            chains,
            self._overheads,
            choice.correction,
            {},
        )

    def _tap(self, index: int, chains: dict[int, Chain]) -> None:
        """Find, trace, equip and measure the taps of one option; note why where there are none."""
        run, found = self.run, self.choice.measured[index]
        built, options = found.built, found.candidate.options
        if built.variant.format != "onnx":
            self._say(built.variant.name, "offers the input tap only: TFLite files are not cut")
            return
        if options.spinning:
            self._say(built.variant.name, "cannot stop early: its threads spin")
            return
        places, reason = usable_taps(built.path, TAPS, built.variant.input.size)
        if not places:
            self._say(built.variant.name, f"has no usable tap: {reason}")
            return
        bare = cut_variant(run.store, built, [bare_place(place) for place in places])
        arrays = run.evidence.trace_taps(built, options, bare)
        self._thumbnails = arrays["thumbnails"]
        self.fitted[index] = equip(
            places,
            [arrays[f"vector_{number}"] for number in range(len(places))],
            arrays["outputs"].shape[1],
            self.choice.taught_by,
            run.rows.fit,
            run.rows.tune,
            run.spec.techniques.exits,
        )
        kinds = ("heads",) if run.spec.techniques.exits else ("centres",)
        all_taps = [(number, kinds) for number in range(len(places))]
        cut = cut_variant(run.store, built, self.fitted[index].places(all_taps, False))
        part = Part(built, options, cut)
        memory = NO_MEMORY if "heads" in kinds else Memory(centres=Centres(update="all"))
        record = run.profiles.measurement([part], memory=memory)
        chains[index] = chain_of(part, [record], self.choice.reference_ms, 0, len(places) + 1)
        means = [float(s.total("hot").mean()) for s in chains[index].segments]
        until = np.cumsum(means) / sum(means)
        self.shares[built.variant.name] = [
            (place.name, float(share)) for place, share in zip(places, until, strict=False)
        ]

    def _measured_overheads(self, index: int) -> Overheads:
        """What thumbnails cost a frame, beside any network."""
        run, found = self.run, self.choice.measured[index]
        if not run.spec.techniques.memory:
            return Overheads(np.zeros(0), np.zeros(0))
        part = Part(found.built, found.candidate.options)
        record = run.profiles.measurement([part], memory=_SCREENED)
        return overheads_of([record], self.choice.reference_ms)

    def _traced_thumbnails(self, index: int) -> Floats:
        found = self.choice.measured[index]
        return self.run.evidence.thumbnails(found.built, found.candidate.options)

    def _tuned(self, design: Design) -> list[Worth]:
        """A baseline at the threshold that is fastest without losing quality; where none is,
        with the least loss."""
        quality, least = self.choice.quality[0], self.choice.least
        tried = tune_baseline(self.early, design)
        good = [worth for worth in tried if worth.guarded[quality] >= least]
        if good:
            return [min(good, key=lambda worth: worth.latency_mean_ms)]
        return [max(tried, key=lambda worth: worth.guarded[quality])]

    def _build(self, worths: list[Worth]) -> BuiltDesign:
        """Cut and equip what the design asks for."""
        design = worths[0].design
        stages, parts, size_mb = [], [], 0.0
        for index, taps in zip(design.options, design.taps, strict=True):
            found, stage = self.choice.measured[index], self.choice.options[index].stage
            if taps:
                places: list[Place] = self.fitted[index].places(taps, design.published)
                cut = cut_variant(self.run.store, found.built, places)
                stage = replace(stage, exits=cut.exits)
                parts.append(Part(found.built, stage.options, cut))
                size_mb += cut.size_mb
            else:
                parts.append(Part(found.built, stage.options))
                size_mb += found.built.variant.size_bytes / 2**20
            stages.append(stage)
        route = "single" if len(stages) == 1 else "cascade"
        structure = Structure(route, tuple(stages), design.rule, design.memory)
        return BuiltDesign(design, structure, parts, size_mb, worths)

    def _composed(self, one: BuiltDesign, worth: Worth) -> Composed:
        assert one.costs is not None
        reach = np.array(worth.reach)
        starts = np.cumsum([1, *(len(p.cut.segments) if p.cut else 1 for p in one.parts)])[:-1]
        return Composed(
            one.design.options,
            one.design.rule,
            worth.thresholds.stages,
            tuple(float(reach[start]) for start in starts),
            worth.replayed,
            worth.guarded,
            {
                "latency_mean_ms": worth.latency_mean_ms,
                **one.costs.fixed(),
                **(one.costs.percentiles(reach) if self.choice.problem.percentiles else {}),
            },
            BuiltEarly(
                one.design,
                one.structure,
                worth.thresholds.exits,
                worth.reach,
            ),
        )

    def _explain(self, bases: Sequence[Base], tried: Sequence[Worth]) -> None:
        """Whether early ends pay on each base: what taps cost against what they save."""
        quality, least = self.choice.quality[0], self.choice.least
        for base in bases:
            option = self.choice.options[base.options[0]]
            if len(base.options) > 1 or base.options[0] not in self.fitted:
                continue
            chain, plain = self.early.chains[base.options[0]], option.cost
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
        return {"reasons": self.reasons, "taps": self.shares}

    def _say(self, name: str, text: str) -> None:
        self.reasons[name] = text
        self.run.journal.note("info", name, text)

    def _name(self, design: Design) -> str:
        return " → ".join(self.choice.options[index].name for index in design.options)
