"""One member under all usual set-ups: few images first, then the promising ones on more."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.setup_check.clock import Clock
from trimtab.planner.setup_check.inputs import further_inputs, usual_inputs
from trimtab.planner.setup_check.orders import (
    Ints,
    Reading,
    answers,
    best_permutation,
    certain,
    cross_fitted,
    usual_readings,
)
from trimtab.planner.setup_check.pictures import Pictures
from trimtab.planner.setup_check.records import CheckedMember, CheckRequest
from trimtab.planner.setup_check.rivals import (
    Rival,
    Setup,
    beside,
    likeliest_first,
    ordered,
    worth_trying,
)
from trimtab.planner.setup_check.statistics import Bools, beats, chance, knows, share_of_error
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.engines import create_engine, format_engine
from trimtab_runtime.formats import InputFormat

#: Images that all set-ups are tried on, those that the best `KEPT` of them are tried on before
#: some go on, and numbers of images at which rivals are judged.
FIRST, SCREENED = 8, 24
KEPT = 6
LOOKS = (64, 128, 200, 400)
#: Set-ups that go on from the screening, the specified one not counted.
FINALISTS = 4
#: Images that even a slow member is tried on, in the screening and beyond it.
_LEAST = (8, 24)
_SCREENING = 0.5  # of the time
#: An order that was found in the answers must explain them: of the errors at least half go, or
#: right answers become twice as many.
_EXPLAINS = 2.0
#: A permutation that was found must lead named set-ups by this share of images.
_LEAD = 0.04

Floats = NDArray[np.float32]


class MemberTrial:
    """Runs one member on `pictures`, image by image, for about its patience.

    `inputs` are the input formats that were tried, `images` the number of images that the
    specified set-up (input 0) has run on.
    """

    def __init__(self, member: CheckedMember, pictures: Pictures, request: CheckRequest) -> None:
        variant = member.variant
        self._member, self._pictures = member, pictures
        # Groups are counted behind the background, and are the job's classes already.
        self._offset = 0 if variant.output.groups else variant.output.offset
        whole = variant
        if not variant.output.groups:
            whole = replace(variant, output=replace(variant.output, offset=0))
        options = RuntimeOptions(format_engine(variant.format), threads=request.threads)
        self._engine = create_engine(member.path, whole, options)
        self._geometry = pictures.of_other_shape(variant.input.size)
        self._setups = usual_inputs(variant.input, self._geometry)
        self._outputs: dict[int, list[Floats]] = {}
        self._clock = Clock()
        self._patience_s = request.patience_s
        self._stall_s = request.stall_s
        self.images = 0

    @property
    def offset(self) -> int:
        """Background classes in front of the outputs."""
        return self._offset

    @property
    def _width(self) -> int:
        """Of the outputs, background included."""
        return self._member.width - (self._member.variant.output.offset - self._offset)

    @property
    def inputs(self) -> list[InputFormat]:
        return [setup.format for setup in self._setups]

    def outputs(self, index: int = 0) -> Floats:
        """All outputs (images, width) with an input, background included."""
        return np.stack(self._outputs[index][: self.images])

    def run(self, inputs: Iterable[int], images: int, least: int = _LEAST[0]) -> None:
        """Bring these inputs to `images`; to `least` and what is done already where time is up."""
        wanted = list(dict.fromkeys(inputs))
        share = 1.0 if self.images else _SCREENING
        most = share * self._patience_s
        for number in range(images):
            if number >= max(least, self.images) and self._clock.spent_s() > most:
                images = number
                break
            for index in wanted:
                done = self._outputs.setdefault(index, [])
                if len(done) == number:
                    done.append(self._answer(number, self._setups[index].format))
        self.images = images

    def _answer(self, number: int, fmt: InputFormat) -> Floats:
        """The outputs of an image. Where they never come, the process ends, whatever it is stuck
        in."""
        tensor = self._pictures.tensor(number, fmt)
        faulthandler.dump_traceback_later(self._stall_s, exit=True)
        try:
            return self._engine.run(tensor).copy()
        finally:
            faulthandler.cancel_dump_traceback_later()

    def untold(self, images: int) -> list[Setup]:
        """All usual inputs on `images` without labels, or on as many as time is for; the specified
        one first."""
        inputs = range(len(self._setups))
        self.run(inputs, images)
        reading = Reading(self._offset, np.arange(self._width - self._offset))
        return [Setup(index, reading, dict(self._setups[index].changes)) for index in inputs]

    def compare(self, labels: Ints, classes: Sequence[str]) -> tuple[list[Rival], int]:
        """The best rivals of the specified set-up, the best first, and how many set-ups were
        tried. `labels` (images,) index `classes`."""
        readings = usual_readings(classes, self._width, self._offset)
        finalists = self._screened(labels, readings)
        tried = len(self._setups) * len(readings) + 1
        first = self.images
        looks = [look for look in LOOKS if first < look < len(labels)] + [len(labels)]
        looks = [look for look in looks if first < look <= LOOKS[-1]]
        at_once, compared = len(finalists) + 1, 0.0
        rivals, left = list[Rival](), list[Rival]()
        for look in looks:
            compared = at_once / share_of_error(look, looks)
            self.run([setup.input for setup in finalists], look, first + _LEAST[1])
            rivals = self._judged(finalists, labels, classes, first, compared)
            if self.images < look or self._settled(rivals, labels, finalists[0]):
                break
            goes_on = [r.promising if look >= LOOKS[1] else r.undecided for r in rivals]
            left += [rival for rival, on in zip(rivals, goes_on, strict=True) if not on]
            rivals = [rival for rival, on in zip(rivals, goes_on, strict=True) if on]
            finalists = [finalists[0], *(rival.setup for rival in rivals if not rival.found)]
        if rivals and rivals[0].found:
            other = self._beyond_order(rivals[0], finalists[0], labels, len(classes), compared + 1)
            rivals = ([other] if other else []) + rivals
        return rivals + left, tried

    def _settled(self, rivals: Sequence[Rival], labels: Ints, specified: Setup) -> bool:
        """Whether more images would change nothing that matters."""
        if not rivals:
            return self.images >= LOOKS[2] or bool(self._right(specified, labels).mean() > 0.5)
        hopeless = not any(rival.promising for rival in rivals)
        beaten = beats(rivals[0].told) and rivals[0].certain
        return beaten or (self.images >= LOOKS[1] and hopeless)

    # ---- screening ----

    def _screened(self, labels: Ints, readings: Sequence[Reading]) -> list[Setup]:
        """The specified set-up, then those that are worth more images."""
        count = min(SCREENED, max(1, len(labels) // 2))
        kept = self._best_inputs(range(len(self._setups)), labels, readings, count)
        ranked = self._ranked(self._all(readings, kept), labels)
        base = next((s for s in ranked if self._setups[s.input].changes), None)
        if base is not None:  # another scale may go with another order of the colours
            first = len(self._setups)
            self._setups += further_inputs(self._setups[base.input], self._geometry)
            further = range(first, len(self._setups))
            more = self._best_inputs(further, labels, readings, self.images)
            ranked = self._ranked(self._all(readings, [*kept, *more]), labels)
        return ranked[: 1 + FINALISTS]

    def _best_inputs(
        self, inputs: Sequence[int], labels: Ints, readings: Sequence[Reading], count: int
    ) -> list[int]:
        """Those of `inputs` that are right most often on few images, by whatever reading; brought
        to `count` images, as the specified one is."""
        few = min(FIRST, count)
        self._bring(inputs, few)
        right = {
            index: max(int(r.right(self._first(index, few), labels[:few]).sum()) for r in readings)
            for index in inputs
        }
        kept = sorted(inputs, key=lambda index: (index != 0, -right[index]))[: 1 + KEPT]
        self.run([0, *kept], count)
        return kept

    def _bring(self, inputs: Iterable[int], images: int) -> None:
        """Run inputs on the first images, whatever the time."""
        for index in inputs:
            done = self._outputs.setdefault(index, [])
            for number in range(len(done), images):
                done.append(self._answer(number, self._setups[index].format))

    def _first(self, index: int, images: int) -> Floats:
        return np.stack(self._outputs[index][:images])

    def _all(self, readings: Sequence[Reading], inputs: Iterable[int]) -> list[Setup]:
        return [
            Setup(index, reading, ordered({**self._setups[index].changes, **reading.changes}))
            for index in inputs
            for reading in readings
        ]

    def _ranked(self, setups: Sequence[Setup], labels: Ints) -> list[Setup]:
        return worth_trying([(self._right(setup, labels), setup) for setup in setups])

    def _right(self, setup: Setup, labels: Ints) -> Bools:
        return setup.reading.right(self.outputs(setup.input), labels[: self.images])

    # ---- judging ----

    def _judged(
        self,
        finalists: Sequence[Setup],
        labels: Ints,
        classes: Sequence[str],
        first: int,
        compared: float,
    ) -> list[Rival]:
        """Finalists on the images from `first` on, on which none was picked."""
        specified = self._right(finalists[0], labels)
        found = []
        for setup in finalists[1:]:
            right = self._right(setup, labels)
            if self._knows(setup, right, labels):
                told = beside(setup, right, specified, first, compared)
                found.append(Rival(setup, right, told))
        found = likeliest_first(found)
        best = found[0].setup.input if found else 0
        for index in dict.fromkeys((0, best)):
            rival = self._permuted(index, specified, labels, len(classes), compared)
            if rival and (not found or rival.told.share > found[0].told.share + _LEAD):
                found.insert(0, rival)
        return found

    def _permuted(
        self, index: int, specified: Bools, labels: Ints, classes: int, compared: float
    ) -> Rival | None:
        """The best permutation of the classes, judged on the half that it was not found on; None
        where it does not explain the answers."""
        offset = self._offset
        predicted, labels = answers(self.outputs(index), offset), labels[: self.images]
        right = cross_fitted(predicted, labels, classes)
        before, after = specified.mean(), right.mean()
        if after < _EXPLAINS * before and 1 - after > (1 - before) / _EXPLAINS:
            return None
        reading = Reading(offset, best_permutation(predicted, labels, classes))
        sure = certain(predicted, labels, reading.places)
        told = f"a permutation found in the answers{'' if sure else ', not certain of each class'}"
        changes = ordered({**self._setups[index].changes, "order": told})
        setup = Setup(index, reading, changes)
        if not self._knows(setup, right, labels):
            return None
        figures = beside(setup, right, specified, 0, compared)
        return Rival(setup, right, figures, found=True, certain=sure)

    def _beyond_order(
        self, found: Rival, specified: Setup, labels: Ints, classes: int, compared: float
    ) -> Rival | None:
        """The best other input where the order had to be found: before, all inputs were alike.
        None where it answers no better."""
        first = len(self._setups)
        self._setups += further_inputs(self._setups[found.setup.input], self._geometry)
        inputs = list(range(first, len(self._setups)))
        for images, kept in ((FIRST, KEPT), (SCREENED, 1)):
            images = min(images, self.images)
            self._bring(inputs, images)
            right = {
                index: found.setup.reading.right(self._first(index, images), labels[:images]).sum()
                for index in inputs
            }
            inputs = sorted(inputs, key=right.__getitem__, reverse=True)[:kept]
        if not inputs:
            return None
        self.run([0, *inputs], self.images)
        rival = self._permuted(
            inputs[0], self._right(specified, labels), labels, classes, compared
        )
        better = rival is not None and rival.told.share > found.told.share + _LEAD
        return rival if better else None

    def _knows(self, setup: Setup, right: Bools, labels: Ints) -> bool:
        """Whether a set-up tells images apart at all: one that always answers the commonest class
        is right often too."""
        predicted = answers(self.outputs(setup.input), setup.reading.offset)
        by_chance = chance(predicted, setup.reading.places[labels[: self.images]])
        return knows(int(right.sum()), len(right), by_chance)
