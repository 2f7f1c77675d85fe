"""The golden images of a bundle, and whether a plan still answers them as it did at export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from trimtab_runtime.bundles.manifest import GOLDEN_NAME
from trimtab_runtime.errors import BundleError
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.memory.states import DAMAGED, read_arrays
from trimtab_runtime.plans.stage import LoadedStage

Golden = Mapping[str, Any]


class _Named(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise BundleError(f"{GOLDEN_NAME} has no array {name!r}")


def read_golden(folder: Path) -> Golden:
    """The arrays of `golden.npz`, which are

    `cases`, how many images; `image_i` uint8 (H, W, 3) and `outputs_i_s` (classes,) of stage s,
    run to its end. Then, for plans that do not stop early, `answer_i` (index, stage, entry); for
    the others `sequence` (frames,), the numbers of images in the order in which they are to be
    classified from an empty memory on, and `answers` (frames, 4): index, stage, tap (-1: none) and
    entry. Protocols before 3 know no entries, and have none. `labels` (classes,) are the names of
    the classes; bundles of before had none. Raises BundleError.
    """
    try:
        return _Named(read_arrays(str(folder / GOLDEN_NAME)))
    except DAMAGED as error:
        raise BundleError(f"{GOLDEN_NAME} cannot be read ({error})") from None


def golden_images(golden: Golden) -> list[Any]:
    """The images, uint8 (H, W, 3) each."""
    return [golden[f"image_{case}"] for case in range(_count(golden))]


def unlike(golden: Golden, stages: Sequence[LoadedStage], tolerance: float) -> list[str]:
    """Which stages give other outputs than they did, and for which image."""
    problems = []
    for case, pixels in enumerate(golden_images(golden)):
        image = Preprocessor(pixels)
        for position, stage in enumerate(stages):
            expected, found = golden[f"outputs_{case}_{position}"], stage.outputs(image)
            if expected.shape != found.shape:
                problems.append(
                    f"image {case}, {stage.variant.name}: {len(found)} outputs, "
                    f"{expected.shape} expected"
                )
                continue
            scale = max(float(np.abs(expected).max()), 1e-6)
            error = float(np.abs(found - expected).max()) / scale
            if not error <= tolerance:
                problems.append(
                    f"image {case}, {stage.variant.name}: outputs differ by {error:.2g}, "
                    f"allowed {tolerance:.2g}"
                )
    return problems


def other_classes(golden: Golden, labels: Sequence[str]) -> list[str]:
    """Which classes have other names than they had."""
    if "labels" not in golden:
        return []
    named = [str(name) for name in golden["labels"]]
    if len(named) != len(labels):
        return [f"{len(labels)} classes have names, {len(named)} had"]
    pairs = enumerate(zip(named, labels))
    return [f"class {i}: {old!r} expected, got {new!r}" for i, (old, new) in pairs if old != new]


def other_answers(golden: Golden, classify: Callable[[Any], Any]) -> list[str]:
    """Which images are answered otherwise, each for itself."""
    problems = []
    for case, pixels in enumerate(golden_images(golden)):
        answer = classify(pixels)
        got = (answer.index, answer.stage, answer.entry)
        wanted = tuple(int(value) for value in golden[f"answer_{case}"])
        if got[: len(wanted)] != wanted:
            problems.append(f"image {case}: (answer, stage, entry) {wanted} expected, got {got}")
    return problems


def other_sequence(golden: Golden, classify: Callable[[Any], Any]) -> list[str]:
    """Which frames of the sequence are answered otherwise."""
    problems, images = [], golden_images(golden)
    for frame, (case, row) in enumerate(zip(golden["sequence"], golden["answers"])):
        answer = classify(images[int(case)])
        tap = -1 if answer.tap is None else answer.tap
        got = (answer.index, answer.stage, tap, answer.entry)
        wanted = tuple(int(value) for value in row)
        if got[: len(wanted)] != wanted:
            problems.append(
                f"frame {frame}: (answer, stage, tap, entry) {wanted} expected, got {got}"
            )
    return problems


def _count(golden: Golden) -> int:
    return int(golden["cases"])
