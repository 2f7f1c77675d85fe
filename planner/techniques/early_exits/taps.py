"""The taps of the options that early ends are added to: found, traced, equipped and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.cache.segments import bare_place, segment_variant
from trimtab.planner.candidates.stages import chain_of, overheads_of
from trimtab.planner.selection.selector import PlanSelector
from trimtab.planner.techniques.early_exits.classifiers import (
    Calibration,
    Fitted,
    TrainingTargets,
    fit_tap_classifiers,
)
from trimtab.profilers import DeviceLost
from trimtab.search.costs.segmented import FrameOverheads, StageSegments
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.exits.design import Early
from trimtab.variants import usable_taps
from trimtab_runtime.definitions.exits import NO_MEMORY, Centres, Memory
from trimtab_runtime.errors import StoreError, TrimtabError

if TYPE_CHECKING:
    from trimtab.planner.pipeline.run import Run

#: Taps of one variant that are considered.
TAPS = 8
#: Values that the vectors of all taps may have together while they are fitted on (512 MB).
_FEATURES = 2**27
#: What a plan remembers while its look-ups are measured for the search.
_SCREENED = Memory(thumbnails=32)


@dataclass
class TapPreparation:
    """Makes of options what a search for early ends needs. `fitted` and `chains` by the numbers of
    options; `shares` say how far (share of a variant's measured time) each of its taps lies. `say`
    takes the name of a variant and what came of it."""

    run: Run
    choice: PlanSelector
    say: Callable[[str, str], None]
    fitted: dict[int, Fitted] = field(default_factory=dict)
    chains: dict[int, StageSegments] = field(default_factory=dict)
    shares: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    _thumbnails: Floats | None = None

    def early(self, options: Sequence[int]) -> Early:
        """Everything about these options. What cannot be cut is said, and stays whole."""
        choice = self.choice
        overheads = FrameOverheads(np.zeros(0), np.zeros(0))
        for index in dict.fromkeys(options):
            self.chains[index] = choice.whole_chain(index)
            try:
                if index == options[0]:
                    overheads = self._overheads(index)
                self._tap(index)
            except (StoreError, DeviceLost):
                raise
            except TrimtabError as error:
                self.fitted.pop(index, None)
                self.say(choice.options[index].name, f"cannot stop early: {error}")
        if self._thumbnails is None:
            found = choice.measured[options[0]]
            options_used = found.candidate.options
            self._thumbnails = self.run.evidence.thumbnails(found.built, options_used)
        return Early(
            choice.problem,
            self._thumbnails,
            {index: fitted.tapped for index, fitted in self.fitted.items()},
            self.chains,
            overheads,
            choice.correction,
            {},
        )

    def _tap(self, index: int) -> None:
        """Find, trace, equip and measure the taps of one option; note why where there are none."""
        run, found = self.run, self.choice.measured[index]
        built, options = found.built, found.candidate.options
        if built.variant.format != "onnx":
            self.say(built.variant.name, "offers the input tap only: TFLite files are not cut")
            return
        if options.spinning:
            self.say(built.variant.name, "cannot stop early: its threads spin")
            return
        places, reason = usable_taps(built.path, TAPS, built.variant.input.size)
        if not places:
            self.say(built.variant.name, f"has no usable tap: {reason}")
            return
        bare = segment_variant(run.store, built, [bare_place(place) for place in places])
        most = _FEATURES // sum(place.channels * place.grid**2 for place in places)
        arrays, fit = run.evidence.trace_taps(built, options, bare, most)
        labels = run.equip_labels  # without them the full network teaches
        self._thumbnails = arrays["thumbnails"]
        names = [f"vector_{number}" for number in range(len(places))]
        own: Ints = fit["outputs"].argmax(1).astype(np.int64)
        tune = run.rows.tune
        self.fitted[index] = fit_tap_classifiers(
            places,
            [arrays[name] for name in names],
            TrainingTargets(
                [fit[name] for name in names], own if labels is None else labels[: len(own)]
            ),
            Calibration(tune, self.choice.taught_by[tune]),
            arrays["outputs"].shape[1],
            run.spec.techniques.exits,
        )
        kinds = ("heads",) if run.spec.techniques.exits else ("centres",)
        all_taps = [(number, kinds) for number in range(len(places))]
        cut = segment_variant(run.store, built, self.fitted[index].places(all_taps, False))
        part = StageSetup(built, options, cut)
        memory = NO_MEMORY if "heads" in kinds else Memory(centres=Centres(update="all"))
        record = run.profiles.measurement([part], memory=memory)
        self.chains[index] = chain_of(part, [record], self.choice.reference_ms, 0, len(places) + 1)
        means = [float(s.total("hot").mean()) for s in self.chains[index].segments]
        until = np.cumsum(means) / sum(means)
        self.shares[built.variant.name] = [
            (place.name, float(share)) for place, share in zip(places, until, strict=False)
        ]

    def _overheads(self, index: int) -> FrameOverheads:
        """What thumbnails cost a frame, beside any network."""
        run, found = self.run, self.choice.measured[index]
        if not run.spec.techniques.memory:
            return FrameOverheads(np.zeros(0), np.zeros(0))
        part = StageSetup(found.built, found.candidate.options)
        record = run.profiles.measurement([part], memory=_SCREENED)
        return overheads_of([record], self.choice.reference_ms)
