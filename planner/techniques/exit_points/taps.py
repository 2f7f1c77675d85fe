"""The taps of options for early exits: found, traced, fitted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.cache.segments import bare_place, segment_variant
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.stages import chain_of, overheads_of
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.techniques.exit_points.classifiers import (
    Calibration,
    Fitted,
    TrainingTargets,
    fit_tap_classifiers,
)
from trimtab.search.costs.segmented import FrameOverheads, StageSegments
from trimtab.search.estimates.targets import Floats, Ints
from trimtab.search.exits.design import Early
from trimtab.search.plans.problem import Problem
from trimtab.variants import taps_in_subprocess
from trimtab_runtime.definitions.exits import NO_MEMORY, Centres, Memory
from trimtab_runtime.errors import TrimtabError

#: Taps of one variant that are considered.
TAPS = 8
#: Values that the vectors of all taps may have together while they are fitted on (512 MB).
_FEATURES = 2**27
#: What a plan remembers while its look-ups are measured for the search.
_SCREENED = Memory(thumbnails=32)


@dataclass
class TapPreparation:
    """Makes of options what a search for early ends needs. `fitted` and `chains` by the numbers of
    options; `shares` say how far (share of a variant's measured time) each of its taps lies;
    `reasons` say, variant by variant, what came of it. `early` is there once options were
    prepared."""

    evaluator: CandidateEvaluator
    data: SelectionData
    problem: Problem
    early: Early | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    fitted: dict[int, Fitted] = field(default_factory=dict)
    chains: dict[int, StageSegments] = field(default_factory=dict)
    shares: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    _thumbnails: Floats | None = None

    def say(self, name: str, text: str) -> None:
        """What came of a variant."""
        self.reasons[name] = text
        self.evaluator.job.journal.note("info", name, text)

    def prepare(self, options: Sequence[int]) -> Early:
        """Everything about these options. What cannot be cut is said, and stays whole."""
        data = self.data
        overheads = FrameOverheads(np.zeros(0), np.zeros(0))
        for index in dict.fromkeys(options):
            self.chains[index] = data.whole(index)
            try:
                with one_step():
                    if index == options[0]:
                        overheads = self._overheads(index)
                    self._tap(index)
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                self.fitted.pop(index, None)
                self.say(data.options[index].name, f"has no early exits: {error}")
        if self._thumbnails is None:
            found = data.measured[options[0]]
            options_used = found.candidate.options
            self._thumbnails = self.evaluator.traces.thumbnails(found.built, options_used)
        self.early = Early(
            self.problem,
            self._thumbnails,
            {index: fitted.tapped for index, fitted in self.fitted.items()},
            self.chains,
            overheads,
            data.correction,
            {},
        )
        return self.early

    def _tap(self, index: int) -> None:
        """Find, trace, equip and measure the taps of one option; note why where there are none."""
        evaluator, found = self.evaluator, self.data.measured[index]
        built, options = found.built, found.candidate.options
        if built.variant.format != "onnx":
            self.say(built.variant.name, "has the input tap only: TFLite files cannot be split")
            return
        if options.spinning:
            self.say(built.variant.name, "has no early exits: it runs with busy-wait threads")
            return
        limit_s = evaluator.job.spec.budget.stall_seconds
        size, name = built.variant.input.size, built.variant.name
        places, reason = taps_in_subprocess(built.path, TAPS, size, limit_s, name)
        if not places:
            self.say(built.variant.name, f"has no usable tap: {reason}")
            return
        store, bare_places = evaluator.job.store, [bare_place(place) for place in places]
        bare = segment_variant(store, built, bare_places, limit_s)
        most = _FEATURES // sum(place.channels * place.grid**2 for place in places)
        arrays, fit = evaluator.traces.trace_taps(built, options, bare, most)
        labels = evaluator.equip_labels  # without them the full network teaches
        self._thumbnails = arrays["thumbnails"]
        names = [f"vector_{number}" for number in range(len(places))]
        own: Ints = fit["outputs"].argmax(1).astype(np.int64)
        tune = evaluator.rows.tune
        self.fitted[index] = fit_tap_classifiers(
            places,
            [arrays[name] for name in names],
            TrainingTargets(
                [fit[name] for name in names], own if labels is None else labels[: len(own)]
            ),
            Calibration(tune, self.data.taught_by[tune]),
            arrays["outputs"].shape[1],
            evaluator.job.spec.techniques.exits,
        )
        kinds = ("heads",) if evaluator.job.spec.techniques.exits else ("centres",)
        all_taps = [(number, kinds) for number in range(len(places))]
        equipped = self.fitted[index].places(all_taps, False)
        cut = segment_variant(store, built, equipped, limit_s)
        part = StageSetup(built, options, cut)
        memory = NO_MEMORY if "heads" in kinds else Memory(centres=Centres(update="all"))
        record = evaluator.measurements.measurement([part], memory=memory)
        self.chains[index] = chain_of(part, [record], self.data.pace, 0, len(places) + 1)
        means = [float(s.total("hot").mean()) for s in self.chains[index].segments]
        until = np.cumsum(means) / sum(means)
        self.shares[built.variant.name] = [
            (place.name, float(share)) for place, share in zip(places, until, strict=False)
        ]

    def _overheads(self, index: int) -> FrameOverheads:
        """What thumbnails cost a frame, beside any network."""
        evaluator, found = self.evaluator, self.data.measured[index]
        if not evaluator.job.spec.techniques.memory:
            return FrameOverheads(np.zeros(0), np.zeros(0))
        part = StageSetup(found.built, found.candidate.options)
        record = evaluator.measurements.measurement([part], memory=_SCREENED)
        return overheads_of([record], self.data.pace)
