"""How a still photograph becomes frames of a camera: walks of shift and gain, and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trimtab.workloads.streams.recipes import StreamRecipe
from trimtab.workloads.streams.shuffling import BYTES_DEVIATION, BYTES_MEAN, Dice
from trimtab_runtime.errors import WorkloadError

GAIN_LIMITS = (0.8, 1.25)
#: In `noise_seeds`: a frame without noise.
NO_NOISE = -1


@dataclass(frozen=True)
class Motion:
    """What happens to the image of every frame; see :class:`trimtab.workloads.Stream`."""

    shifts: list[tuple[int, int]] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    noise_seeds: list[int] = field(default_factory=list)


def move(blocks: Sequence[int], recipe: StreamRecipe, name: str) -> Motion:
    """The motion of every frame, (frames,); `name` seeds it.

    Every stay starts at the photograph as it is (shift 0, gain 1) and walks on its own, one step
    for each frame that shows it: what belongs to different stays is independent.
    """
    if not recipe.moves:
        frames = len(blocks)
        return Motion([(0, 0)] * frames, [1.0] * frames, [NO_NOISE] * frames)
    steps, lights, seeds = (Dice(f"{name}/{what}") for what in ("shift", "gain", "noise"))
    last: dict[int, tuple[int, int, float]] = {}
    found = Motion()
    for stay in blocks:
        if stay in last:
            right, down, gain = last[stay]
            right = _within(right + steps.below(3) - 1, recipe.shift)
            down = _within(down + steps.below(3) - 1, recipe.shift)
            gain *= 1 + recipe.gain * lights.normal()
            gain = min(max(gain, GAIN_LIMITS[0]), GAIN_LIMITS[1])
        else:
            right, down, gain = 0, 0, 1.0
        last[stay] = right, down, gain
        found.shifts.append((right, down))
        found.gains.append(gain)
        found.noise_seeds.append(seeds.below(2**63) if recipe.noise else NO_NOISE)
    return found


def _within(value: int, limit: int) -> int:
    return min(max(value, -limit), limit)


def render(
    pixels: NDArray[np.uint8], shift: tuple[int, int], gain: float, noise: float, noise_seed: int
) -> NDArray[np.uint8]:
    """One frame of an image: uint8 (H, W) or (H, W, C), as it came in.

    `shift` moves the picture, in pixels to the right and down, and repeats its border; `gain`
    multiplies; noise of the deviation `noise` (a share of 255), drawn for every pixel and
    channel, is added unless `noise_seed` is -1; then values are rounded and clipped. Nearly
    normal noise from whole numbers: the same pixels on every machine.
    Raises WorkloadError for other arrays.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise WorkloadError(
            f"pixels must be uint8 (H, W) or (H, W, C), got {pixels.dtype} {pixels.shape}"
        )
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(height) - shift[1], 0, height - 1)
    columns = np.clip(np.arange(width) - shift[0], 0, width - 1)
    moved = pixels[rows[:, None], columns]
    if gain == 1 and noise_seed == NO_NOISE:
        return moved
    values = moved * np.float64(gain)
    if noise_seed != NO_NOISE:
        # NumPy keeps the raw output of a bit generator stable, but not what it makes of it.
        words = np.random.PCG64(noise_seed).random_raw(moved.size).view(np.uint8)
        sums = words.reshape(-1, 8).sum(axis=1, dtype=np.float64).reshape(moved.shape)
        values += (sums - BYTES_MEAN) / BYTES_DEVIATION * (noise * 255)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
