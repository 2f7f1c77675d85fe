"""One plan, several threads: everybody gets the answer to the own image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.planner.bundles.archive import write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.definitions.exits import NO_MEMORY, ExitThresholds

THREADS, ROUNDS = 4, 6


def in_threads(work: Callable[[int], None]) -> None:
    """Run `work` in threads at once; the first error is raised here."""
    errors: list[BaseException] = []
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:  # told by the test's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def check(plan: Plan, images: Sequence[Any]) -> None:
    """Probabilities show another image's answer even where the class is the same."""
    alone = [plan.classify(image).probabilities.copy() for image in images]

    def serve(number: int) -> None:
        generator = np.random.default_rng(number)
        for _ in range(ROUNDS):
            for index in generator.permutation(len(images)):
                found = plan.classify(images[index]).probabilities
                assert np.array_equal(found, alone[index])

    in_threads(serve)


def test_tflite(parts_of: Any, tmp_path: Path, noise: Any) -> None:
    bundle = write_bundle(parts_of(["lite"]), tmp_path / "lite.pyz")
    check(Plan.load(str(bundle)), noise)


def test_a_cascade(cascade: Path, noise: Any) -> None:
    check(Plan.load(str(cascade)), noise)


def test_heads(early_of: Any, tmp_path: Path, noise: Any) -> None:
    exits = ExitThresholds(heads=0.93)
    parts = early_of(("tiny", "+bytes"), exits=exits, memory=NO_MEMORY)
    check(Plan.load(str(write_bundle(parts, tmp_path / "heads.pyz"))), noise)


@pytest.mark.parametrize("kind", ["image", "tap"])
def test_routers_and_scorers(premodels: Mapping[str, Path], kind: str, noise: Any) -> None:
    check(Plan.load(str(premodels[kind])), noise)


def test_a_memory_learns_every_frame_once(early: Path, frames: Sequence[Path]) -> None:
    """In some order, and what was learned is what a plan learns alone in that order."""
    plan, alone = Plan.load(str(early)), Plan.load(str(early))
    assert plan.memory is not None
    assert alone.memory is not None
    order: list[int] = []
    finish = plan.memory.finish

    def noted(said: Any, answer: int) -> tuple[int, int]:
        order.append(current[threading.get_ident()])
        return finish(said, answer)

    plan.memory.finish = noted  # type: ignore[method-assign] # to see the order
    current: dict[int, int] = {}

    def serve(number: int) -> None:
        for index in range(number, len(frames), THREADS):
            current[threading.get_ident()] = index
            plan.classify(frames[index])

    in_threads(serve)
    assert sorted(order) == list(range(len(frames)))
    for index in order:
        alone.classify(frames[index])
    expected = alone.memory.snapshot()
    for name, array in plan.memory.snapshot().items():
        assert np.array_equal(array, expected[name], equal_nan=True), name


def test_points_and_budgets_move_between_answers(cascade: Path, noise: Any) -> None:
    plan = Plan.load(str(cascade))
    possible = []
    for point in range(len(plan.manifest.points)):
        plan.use(point)
        possible.append([plan.classify(image).index for image in noise])

    def serve(number: int) -> None:
        for index, image in enumerate(noise):
            if number == 0:
                plan.use(index % len(possible))
            if number == 1:
                plan.track(1.0 + index)
            answer = plan.classify(image)
            assert answer.index in {answers[index] for answers in possible}
            assert answer.latency_ms > 0

    in_threads(serve)
    assert plan.selftest() == []
