"""Plans of every kind over invented streams: for the loop of a device, and for the replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from early_plans import Array, InventedStream, standardised

from trimtab.search.replay.cascade import Replay, replay
from trimtab.search.replay.stateful import StatefulReplay, TappedStage, replay_stateful
from trimtab.variants.routers import Runner
from trimtab_runtime.definitions.exits import Exits, ExitThresholds, Memory, Tap
from trimtab_runtime.definitions.plan import (
    InputFormat,
    OperatingPoint,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.definitions.routers import Router, Scorer
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.memory.states import TapArrays
from trimtab_runtime.plans.deciders import LoadedRouter, LoadedScorer
from trimtab_runtime.plans.early_exits import make_recall
from trimtab_runtime.plans.loop import Found, run_plan
from trimtab_runtime.plans.routing import entries


@dataclass
class Told:
    """A stage that tells again what was recorded: what `run_plan` takes, an image being the
    number of a frame."""

    taps: tuple[Tap, ...]
    vectors: list[Array]
    logits: list[Array]
    probabilities: Array
    scorer: LoadedScorer | None = None
    variant: Any = None

    def start(self, image: Frame) -> None:
        self._frame, self._tap = image.number, -1

    def tap(self) -> tuple[Array, Array | None]:
        self._tap += 1
        heads = "heads" in self.taps[self._tap].kinds
        logits = self.logits[self._tap][self._frame] if heads else None
        return self.vectors[self._tap][self._frame], logits

    def finish(self) -> Array:
        return self.probabilities[self._frame].copy()

    def confidence(self, probabilities: Array, largest: float) -> float:
        return largest if self.scorer is None else self.scorer.score(probabilities)


@dataclass(frozen=True)
class Frame:
    number: int
    stream: InventedStream

    def thumbnail(self) -> Array:
        found: Array = self.stream.thumbnails[self.number]
        return found

    def tensor(self, fmt: InputFormat) -> Array:
        """What a router of kind 'tensor' reads: a few grey levels."""
        return self.stream.thumbnails[self.number : self.number + 1, :3]


class ToldPlan:
    """A plan over an invented stream. `taps` are the kinds at each tap of each stage, `scorers`
    the files of those that have one."""

    def __init__(
        self,
        stream: InventedStream,
        taps: Sequence[Sequence[tuple[str, ...]]],
        memory: Memory,
        rule: str = "last",
        scorers: Sequence[Path | None] = (),
    ) -> None:
        random = stream.generator
        self.stream, self.memory, self.rule = stream, memory, rule
        self.scorers = [*scorers, *[None] * (len(taps) - len(scorers))]
        self.router: LoadedRouter | None = None
        self.told: list[Told] = []
        self.tapped: list[TappedStage] = []
        self.arrays: list[list[TapArrays]] = []
        for number, (asked, file) in enumerate(zip(taps, self.scorers, strict=True)):
            found = [
                stream.tap(f"{number}.{tap}", kinds, int(random.integers(3, 20)), 1.2 - tap / 4)
                for tap, kinds in enumerate(asked)
            ]
            self._add(found, stream.probabilities(3.0 + number), file)

    def _add(self, found: Sequence[Any], said: Array, scorer: Path | None) -> None:
        taps = tuple(tap for tap, *_ in found)
        arrays: list[TapArrays] = [arrays for _, arrays, *_ in found]
        raw, logits = [f[2] for f in found], [f[3] for f in found]
        loaded = None if scorer is None else LoadedScorer(str(scorer))
        self.told.append(Told(taps, raw, logits, said, loaded))
        nothing = np.zeros((0, self.stream.classes), np.float32)
        self.tapped.append(
            TappedStage(
                said,
                taps,
                tuple(arrays),
                tuple(standardised(v, t, a) for t, a, v, _ in found),
                tuple(x if "heads" in t.kinds else nothing for t, _, _, x in found),
            )
        )
        self.arrays.append(arrays)

    def routed_by(self, router: Router, file: Path) -> None:
        """Let frames in where a router says."""
        self.router = LoadedRouter(router, str(file))

    @property
    def structure(self) -> Structure:
        options = RuntimeOptions("onnxruntime")
        stages = tuple(
            Stage(
                str(number),
                options,
                exits=Exits(told.taps, "") if told.taps else None,
                scorer=Scorer("s" * 64) if told.scorer else None,
            )
            for number, told in enumerate(self.told)
        )
        route = "premodel" if self.router else ("single" if len(stages) == 1 else "cascade")
        router = self.router.router if self.router else None
        return Structure(route, stages, self.rule, self.memory, router)

    # ---- replayed ------------------------------------------------------------------------------

    def entry(self, price: float) -> Array:
        """The stage (frames,) where frames come in."""
        if self.router is None:
            return np.zeros(self.stream.frames, np.int64)
        tap = self.router.router.kind == "tap"
        features = self.told[0].vectors[0] if tap else self.stream.thumbnails[:, :3]
        scores = np.stack([self.router.scores(row[None]) for row in features])
        found: Array = entries(scores, self.router.router.costs_ms, price)
        return found

    @property
    def scoring(self) -> list[Any]:
        runners = [None if file is None else Runner(file.read_bytes()) for file in self.scorers]
        return [None if run is None else (lambda p, run=run: run(p)[:, 0]) for run in runners]

    def replay(
        self, thresholds: Sequence[float], exits: ExitThresholds, price: float = 0.0
    ) -> StatefulReplay:
        return replay_stateful(
            self.tapped,
            self.rule,
            thresholds,
            self.memory,
            exits,
            self.stream.thumbnails,
            self.entry(price),
            self.scoring,
        )

    def replay_plain(self, thresholds: Sequence[float], price: float = 0.0) -> Replay:
        """As a plan in which no tap answers and that remembers nothing."""
        said = [stage.probabilities for stage in self.tapped]
        return replay(said, self.rule, thresholds, self.entry(price), self.scoring)

    # ---- as a device runs it -------------------------------------------------------------------

    def recall(self) -> Recall | None:
        """An empty memory, where the plan needs one."""
        if not self.structure.stops_early:
            return None
        return make_recall(self.structure, self.arrays, self.stream.classes)

    def device(
        self,
        thresholds: Sequence[float],
        exits: ExitThresholds,
        price: float = 0.0,
        recall: Recall | None = None,
    ) -> list[Found]:
        """From `recall`, by default an empty memory."""
        recall = recall or self.recall()
        if recall is not None:
            recall.use(exits)
        point = OperatingPoint(tuple(thresholds), exits=exits, price=price)
        frames = (Frame(number, self.stream) for number in range(self.stream.frames))
        return [
            run_plan(self.told, self.rule, point, frame, recall, self.router) for frame in frames
        ]
