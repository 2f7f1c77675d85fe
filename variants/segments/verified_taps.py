"""Taps that were tried: the segments between them answer bit for bit as the whole does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.onnx import load_session, run_session
from trimtab.variants.intake.trial import noise
from trimtab.variants.segments.cutting import cut_segments
from trimtab.variants.segments.taps import TapPlace, find_taps, thin
from trimtab_runtime.errors import ModelError

_SIDE = 224  # pixels, where a file leaves its input size open
_TYPES = ("tensor(float)", "tensor(float16)", "tensor(uint8)", "tensor(int8)")


def usable_taps(
    path: Path, limit: int = 9, size: tuple[int, int] | None = None
) -> tuple[list[TapPlace], str | None]:
    """At most `limit` taps, spread evenly by share, with which all together the segments answer as
    the whole does, and why there are none (else None).

    Taps that change a bit, or leave onnxruntime a segment that it cannot load, are dropped. `size`
    as for :func:`find_taps`. Raises ModelError where `path` itself cannot be loaded or run.
    """
    path = Path(path)
    found, reason = find_taps(path, size)
    taps = thin(found, limit)
    if not taps:
        return [], reason
    images = _random_images(path, 3, 0, size)
    whole = _runner(path)
    expected = [whole(image) for image in images]

    def difference(chosen: Sequence[TapPlace]) -> str | None:
        names = [tap.name for tap in chosen]
        with tempfile.TemporaryDirectory(prefix="trimtab-taps-") as folder:
            try:
                return _difference(cut_segments(path, names, Path(folder)), images, expected)
            except ModelError as error:
                return str(error)

    if difference(taps) is None:
        return taps, None
    kept: list[TapPlace] = []
    reasons = []
    for tap in taps:
        reason = difference([*kept, tap])
        if reason is None:
            kept.append(tap)
        else:
            reasons.append(f"{tap.name} ({reason})")
    return (
        kept,
        None if kept else f"a cut at any of these changes the answers: {', '.join(reasons)}",
    )


def assert_same_answers(
    path: Path,
    segments: Sequence[Path],
    images: int = 4,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> None:
    """Run the whole and its segments on random images, with onnxruntime on one thread and with all
    its optimisations. `size` (height, width) is for files that leave their input size open.

    Raises ModelError unless all outputs are equal bit for bit, or where something does not run.
    """
    inputs = _random_images(path, images, seed, size)
    whole = _runner(Path(path))
    difference = _difference(segments, inputs, [whole(image) for image in inputs])
    if difference is not None:
        raise ModelError(
            f"{Path(path).name}: cut into {len(segments)} segments it answers differently "
            f"({difference}); take fewer taps, or those that usable_taps gives"
        )


def _difference(
    segments: Sequence[Path], images: Sequence[Array], expected: Sequence[Array]
) -> str | None:
    runs = [_runner(segment) for segment in segments]
    for image, wanted in zip(images, expected, strict=True):
        tensor = image
        for run in runs:
            tensor = run(tensor)
        if tensor.shape != wanted.shape or tensor.tobytes() != wanted.tobytes():
            if tensor.shape != wanted.shape:
                return f"output {tensor.shape} instead of {wanted.shape}"
            gap = np.abs(tensor.astype(np.float64) - wanted.astype(np.float64)).max()
            return f"by up to {gap:.3g}"
    return None


def _runner(path: Path) -> Callable[[Array], Array]:
    """The first output of a model with one input."""
    session = load_session(path, optimised=True)
    name = session.get_inputs()[0].name
    return lambda tensor: run_session(path, session, name, tensor)


def _random_images(path: Path, count: int, seed: int, size: tuple[int, int] | None) -> list[Array]:
    """Input tensors (1, ...) of noise; float ones lie in -1 to 1."""
    value = load_session(path, optimised=True).get_inputs()[0]
    if value.type not in _TYPES or len(value.shape or ()) != 4:
        raise ModelError(
            f"{Path(path).name}: takes {value.type} {value.shape}; an image is float32, float16, "
            "uint8 or int8 with four dimensions"
        )
    rest: list[Any] = list(value.shape[1:])
    sides = (0, 1) if rest[2] in (1, 3) and rest[0] not in (1, 3) else (1, 2)
    for axis, side in zip(sides, size or (_SIDE, _SIDE), strict=True):
        if not isinstance(rest[axis], int):
            rest[axis] = side
    return list(noise((count, 1, *rest), value.type, seed))
