"""The golden images of a bundle, and a plan's answers to them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trimtab_runtime.definitions.exits import EXIT_KINDS, ExitThresholds, Tap
from trimtab_runtime.definitions.plan import OperatingPoint, PlanDefinition, Structure
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.plans.deciders import LoadedRouter
from trimtab_runtime.plans.loop import run_plan
from trimtab_runtime.plans.routing import worths
from trimtab_runtime.plans.stage import LoadedStage

_CASES = 4
_SIDE = 160  # pixels; golden images are shrunk to it
#: Golden sequences stay the same when thresholds are moved by this factor either way.
_MOVED = 1.05

Array = Any


@dataclass(frozen=True, eq=False)
class _Case:
    """An image, what every stage gives of it, and its answer where nothing answers early.
    `margin` is how far the closest of all decisions was from another outcome."""

    image: Array
    outputs: list[Array]
    index: int
    stage: int
    entry: int
    margin: float


def golden_cases(
    definition: PlanDefinition,
    stages: Sequence[LoadedStage],
    recall: Recall | None,
    images: Sequence[Path],
    router: LoadedRouter | None = None,
    labels: Sequence[str] = (),
) -> bytes:
    """`golden.npz` as :func:`trimtab_runtime.plans.golden.read_golden` describes it: images
    chosen far from every decision, of a plan that stops early (`recall`) an equally safe sequence
    of them."""
    cases = [_case(stages, definition, path, router) for path in images]
    if not cases:
        raise PlanningError("there are no images to choose golden images from")
    arrays: dict[str, Array] = {}
    if recall is None:
        chosen = _safest(cases)
        for number, case in enumerate(chosen):
            arrays[f"answer_{number}"] = np.array([case.index, case.stage, case.entry])
    else:
        chosen, sequence, answers = _safe_sequence(definition, stages, recall, cases, router)
        arrays.update(sequence=np.array(sequence), answers=np.array(answers))
    arrays["cases"] = np.array(len(chosen))
    arrays["labels"] = np.array(labels, np.str_)
    for number, case in enumerate(chosen):
        arrays[f"image_{number}"] = case.image
        for position, outputs in enumerate(case.outputs):
            arrays[f"outputs_{number}_{position}"] = outputs
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _case(
    stages: Sequence[LoadedStage],
    definition: PlanDefinition,
    path: Path,
    router: LoadedRouter | None,
) -> _Case:
    image = decode_image(str(path)).convert("RGB")
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image)
    prepared = Preprocessor(pixels)
    frame = _Frame(pixels, [stage.outputs(prepared) for stage in stages])
    recorded = [_RecordedStage(stage, number) for number, stage in enumerate(stages)]
    point = OperatingPoint(definition.thresholds, price=definition.price)
    found = run_plan(recorded, definition.structure.rule, point, frame, router=router)
    margins = [_lead(found.probabilities)]
    if router is not None:
        scores = router.scores(router.look(frame, recorded[0])[0])
        margins.append(_lead(worths(scores, router.router.costs_ms, definition.price)))
    for stage, threshold in zip(recorded[:-1], definition.thresholds, strict=True):
        margins += [abs(confidence - threshold) for confidence in stage.compared]
    return _Case(pixels, frame.outputs, found.answer, found.stage, found.entry, min(margins))


def _lead(values: Array) -> float:
    """By how much the largest value leads the second."""
    second, first = np.sort(values)[-2:] if len(values) > 1 else (0.0, values[0])
    return float(first - second)


def _safest(cases: Sequence[_Case]) -> list[_Case]:
    """The cases with the widest margins, every way through the plan represented."""
    ordered = sorted(cases, key=lambda case: -case.margin)
    first = {(case.entry, case.stage): case for case in reversed(ordered)}
    chosen = list(first.values())[:_CASES]
    rest = [case for case in ordered if all(case is not other for other in chosen)]
    return (chosen + rest)[:_CASES]


class _Frame(Preprocessor):
    """An image as a plan takes it, and what every stage gives of it."""

    def __init__(self, pixels: Array, outputs: list[Array]) -> None:
        super().__init__(pixels)
        self.outputs = outputs


class _RecordedStage:
    """What a stage says, told again without running it. `compared` are the confidences that were
    asked for."""

    def __init__(self, stage: LoadedStage, number: int) -> None:
        self.taps: tuple[Tap, ...] = stage.taps
        self.variant, self._stage, self._number = stage.variant, stage, number
        self.compared: list[float] = []
        self._found: dict[int, list[tuple[Array, Array | None]]] = {}

    def start(self, frame: _Frame) -> None:
        if id(frame) not in self._found:
            self._stage.start(frame)
            taps = (self._stage.tap() for _ in self.taps)
            self._found[id(frame)] = [(v.copy(), h if h is None else h.copy()) for v, h in taps]
        self._left = list(self._found[id(frame)])
        self._outputs = frame.outputs[self._number]

    def tap(self) -> tuple[Array, Array | None]:
        return self._left.pop(0)

    def finish(self) -> Array:
        return self._stage.probabilities(self._outputs)

    def confidence(self, probabilities: Array, largest: float) -> float:
        self.compared.append(self._stage.confidence(probabilities, largest))
        return self.compared[-1]


def _safe_sequence(
    definition: PlanDefinition,
    stages: Sequence[LoadedStage],
    recall: Recall,
    cases: Sequence[_Case],
    router: LoadedRouter | None,
) -> tuple[list[_Case], list[int], list[tuple[int, ...]]]:
    """Cases, the order in which they come, and (answer, stage, tap, entry) of each frame from an
    empty memory on. Each image comes twice in a row, and the first again at the end, unless that
    makes an answer depend on thresholds being what they are to a few per cent."""
    recorded = [_RecordedStage(stage, number) for number, stage in enumerate(stages)]
    structure = definition.structure

    @cache
    def frame_of(case: _Case) -> _Frame:
        return _Frame(case.image, case.outputs)

    def answers(sequence: Sequence[_Case], factor: float) -> list[tuple[int, ...]]:
        point = _moved(structure, definition, factor)
        recall.reset()
        recall.use(point.exits)
        ran = (
            run_plan(recorded, structure.rule, point, frame_of(case), recall, router)
            for case in sequence
        )
        return [(found.answer, found.stage, found.tap, found.entry) for found in ran]

    def safe(sequence: Sequence[_Case]) -> bool:
        first, *others = (answers(sequence, f) for f in (1.0, _MOVED, 1 / _MOVED))
        return all(other == first for other in others)

    sequence: list[_Case] = []
    chosen: list[_Case] = []
    ordered = sorted(cases, key=lambda case: -case.margin)
    for case in ordered:
        more = [case] * 2
        while more and not safe(sequence + more):
            more.pop()
        if more:
            sequence += more
            chosen.append(case)
        if len(chosen) == _CASES:
            break
    if not chosen:  # no image is safe: its answer holds on this kind of device at least
        sequence, chosen = [ordered[0]], [ordered[0]]
    elif safe([*sequence, sequence[0]]):
        sequence.append(sequence[0])
    return chosen, [chosen.index(case) for case in sequence], answers(sequence, 1.0)


def _moved(structure: Structure, definition: PlanDefinition, factor: float) -> OperatingPoint:
    """The plan's own operating point with every threshold moved. What has its limit at 1 is moved
    by its distance from there."""
    unlimited = {"thumbnails"}
    centres = structure.memory.centres
    if centres is not None and centres.measure == "ac":
        unlimited.add("centres")

    def to_one(value: float) -> float:
        return 1 - (1 - value) / factor

    exits: ExitThresholds = definition.exits
    for kind in EXIT_KINDS:
        value = getattr(exits, kind)
        if value is not None:
            new = value * factor if kind in unlimited else to_one(value)
            exits = replace(exits, **{kind: new})
    thresholds = tuple(map(to_one, definition.thresholds))
    return OperatingPoint(thresholds, exits=exits, price=definition.price * factor)
