"""A stored plan, put together again and replayed on test: the answers that its bundle gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.db import PlanRecord
from trimtab.planner.jobs.stored_plans import plan_definition, plan_variants
from trimtab.planner.reports.answers.inputs import Ints, TestInputs
from trimtab.planner.reports.answers.traces import Floats, StoredTraces
from trimtab.search.replay.cascade import Replay, Scoring, replay
from trimtab.search.replay.stateful import StatefulReplay, TappedStage, replay_stateful
from trimtab.variants import read_head
from trimtab_runtime.definitions.plan import PlanDefinition, Stage, Variant
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.memory.states import TapArrays, read_tap_arrays
from trimtab_runtime.plans.deciders import LoadedRouter, LoadedScorer, load_router
from trimtab_runtime.plans.routing import calibrated, entries


@dataclass(frozen=True)
class StoredPlan:
    """A plan as the store has it, with what was traced of its inputs."""

    definition: PlanDefinition
    variants: tuple[Variant, ...]
    traces: StoredTraces
    inputs: TestInputs

    @classmethod
    def of(cls, plan: PlanRecord, traces: StoredTraces, inputs: TestInputs) -> StoredPlan:
        return cls(plan_definition(plan), tuple(plan_variants(plan)), traces, inputs)

    def replay(self) -> Replay | StatefulReplay:
        """What it answers on the inputs, remembering nothing before the first. Raises
        PlanningError or StoreError where something that it needs is not in the store."""
        definition, structure = self.definition, self.definition.structure
        probabilities = [
            calibrated(self.traces.outputs(variant, stage.options), variant.output, temperature)
            for variant, stage, temperature in self._stages
        ]
        entry, scorers = self._entry(), [self._scorer(stage) for stage in structure.stages]
        if not structure.stops_early:
            return replay(probabilities, structure.rule, definition.thresholds, entry, scorers)
        return replay_stateful(
            [
                self._tapped(variant, stage, said)
                for (variant, stage, _), said in zip(self._stages, probabilities, strict=True)
            ],
            structure.rule,
            definition.thresholds,
            structure.memory,
            definition.exits,
            self._thumbnails(),
            entry,
            scorers,
        )

    @property
    def _stages(self) -> list[tuple[Variant, Stage, float]]:
        stages = self.definition.structure.stages
        pairs = zip(self.variants, stages, strict=True)
        return [(variant, stage, stage.temperature) for variant, stage in pairs]

    def _entry(self) -> Ints | None:
        """The stage (n,) where each input enters; None without a router."""
        router = load_router(self.definition.structure, self.traces.path)
        if router is None:
            return None
        scores = np.stack([router.scores(row[None]) for row in self._seen(router)])
        found: Ints = entries(scores, router.router.costs_ms, self.definition.price)
        return found

    def _seen(self, loaded: LoadedRouter) -> Sequence[Floats]:
        """What a router looks at, of each input."""
        router, stages = loaded.router, self.definition.structure.stages
        if router.kind == "image":
            return list(self.traces.features(router.names))
        if router.kind == "tap":
            exits = stages[0].exits
            assert exits is not None  # Structure has seen to that
            names = [exits.taps[0].name]
            (found,) = self.traces.vectors(self.variants[0], stages[0].options, names, True)
            return list(found)
        if self.inputs.moved.any():
            raise PlanningError("its router reads the pixels of frames, which are not kept")
        images = {path: loaded.features(_image(str(path)))[0] for path in set(self.inputs.paths)}
        return [images[path] for path in self.inputs.paths]

    def _scorer(self, stage: Stage) -> Scoring | None:
        if stage.scorer is None:
            return None
        loaded = LoadedScorer(str(self.traces.path(stage.scorer.model)))

        def score(probabilities: Floats) -> Floats:
            return np.array([loaded.score(row) for row in probabilities], np.float32)

        return score

    def _tapped(self, variant: Variant, stage: Stage, probabilities: Floats) -> TappedStage:
        """A stage with the taps that may answer: not that which only a router reads."""
        exits = stage.exits
        numbers = [n for n, tap in enumerate(exits.taps) if tap.kinds] if exits else []
        if exits is None or not numbers:
            return TappedStage(probabilities)
        taps = [exits.taps[number] for number in numbers]
        read = read_tap_arrays(str(self.traces.path(exits.arrays)), len(exits.taps))
        arrays = [read[number] for number in numbers]
        names = [tap.name for tap in taps]
        raw = self.traces.vectors(variant, stage.options, names, routed=False)
        nothing = np.zeros((0, probabilities.shape[1]), np.float32)
        logits = [
            read_head(self.traces.path(tap.segment)).logits(vectors)
            if "heads" in tap.kinds
            else nothing
            for tap, vectors in zip(taps, raw, strict=True)
        ]
        vectors = tuple(_standardised(v, own) for v, own in zip(raw, arrays, strict=True))
        return TappedStage(probabilities, tuple(taps), tuple(arrays), vectors, tuple(logits))

    def _thumbnails(self) -> Floats:
        """Of each input (n, size); (n, 0) where the plan keeps none."""
        if not self.definition.structure.memory.thumbnails:
            return np.zeros((len(self.inputs.rows), 0), np.float32)
        return self.traces.thumbnails([(variant, s.options) for variant, s, _ in self._stages])


def _image(path: str) -> Preprocessor:
    return Preprocessor(decode_image(path))


def _standardised(vectors: Floats, arrays: TapArrays) -> Floats:
    """Vectors (n, channels * grid * grid) as centres and instances read them: (n, channels)."""
    pooled = vectors.reshape(len(vectors), len(arrays.mean), -1).mean(2, dtype=np.float32)
    found: Floats = ((pooled - arrays.mean) * arrays.scale).astype(np.float32)
    return found
