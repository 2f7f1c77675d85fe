"""Plans that stop early, for tests: invented streams, small networks cut at taps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sample_models import CLASSES, INPUT, activations, make_net, texture_images, write_onnx

from trimtab.variants import Head, cut_segments, inspect_model, make_variant
from trimtab_runtime.definitions.exits import Exits, Tap
from trimtab_runtime.definitions.plan import RuntimeOptions, Stage, Variant
from trimtab_runtime.memory import kernel
from trimtab_runtime.memory.states import TapArrays, tap_models

Array = np.ndarray[Any, np.dtype[Any]]
TAPS = ("relu1", "relu2")
TAP_KINDS = ("instances", "centres", "heads")


def standardised(vectors: Array, tap: Tap, arrays: TapArrays) -> Array:
    """What a replay takes, of raw vectors (n, channels)."""
    (model,) = tap_models([tap], [arrays])
    read = vectors[:, : len(model.mean)]  # none where a head alone is asked
    return np.stack([kernel.standardised(vector, model) for vector in read])


# ---- invented streams --------------------------------------------------------------------------


@dataclass
class InventedStream:
    """Objects of `classes` that dwell and return; the later a tap, the less noise."""

    frames: int
    classes: int
    generator: np.random.Generator

    def __post_init__(self) -> None:
        random, many = self.generator, 9
        self.kinds = random.integers(0, self.classes, many)
        self.objects = np.empty(self.frames, np.int64)
        place = 0
        for number in range(self.frames):
            if random.random() < 0.2:
                place = int(random.integers(many))
            self.objects[number] = place
        self.labels = self.kinds[self.objects]
        base = random.uniform(0, 255, (many, 192))
        moved = base[self.objects] + random.normal(0, 4, (self.frames, 192))
        self.thumbnails = moved.astype(np.float32)

    def tap(self, name: str, kinds: tuple[str, ...], channels: int, noise: float) -> Any:
        """A tap, its arrays, raw vectors (frames, channels) and logits (frames, classes)."""
        random = self.generator
        centres = random.normal(0, 1, (self.classes, channels))
        own = centres[self.kinds] + random.normal(0, 0.5, (len(self.kinds), channels))
        clean = own[self.objects] + random.normal(0, noise, (self.frames, channels))
        mean, scale = random.normal(3, 1, channels), random.uniform(0.5, 2, channels)
        raw = (clean / scale + mean).astype(np.float32)
        arrays = TapArrays(
            mean.astype(np.float32),
            scale.astype(np.float32),
            centres.astype(np.float32),
            random.integers(0, 40, self.classes).astype(np.float32),
            random.uniform(0.1, 1.5, 2).astype(np.float32),
        )
        logits = (clean @ centres.T / 2).astype(np.float32)
        return Tap(name, "", kinds), arrays, raw, logits

    def probabilities(self, sharp: float) -> Array:
        """Of a network that is mostly right (frames, classes)."""
        logits = self.generator.normal(0, 1, (self.frames, self.classes))
        logits[np.arange(self.frames), self.labels] += sharp
        powers = np.exp(logits)
        return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


# ---- small networks ----------------------------------------------------------------------------


@dataclass(frozen=True)
class CutModel:
    """A small network in segments, with heads and centres fitted on textures."""

    whole: Path
    variant: Variant
    exits: Exits
    segments: list[Path]
    arrays_path: Path
    arrays: list[TapArrays]

    @property
    def files(self) -> dict[str, Path]:
        return dict(zip(self.exits.segments, self.segments, strict=True)) | {
            self.exits.arrays: self.arrays_path
        }

    def stage(self, temperature: float = 1.0) -> Stage:
        options = RuntimeOptions("onnxruntime")
        return Stage(self.variant.sha256, options, temperature, self.exits)


def cut_model(
    folder: Path, width: int = 8, kinds: Sequence[tuple[str, ...]] = (TAP_KINDS, TAP_KINDS)
) -> CutModel:
    """The network of sample_models with as many of its taps as there are `kinds`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = write_onnx(folder / f"width{width}.onnx", width)
    images, labels = texture_images(200, seed=77)
    first, second, *_ = activations(make_net(width), images)
    heads, arrays, names = {}, [], TAPS[2 - len(kinds) :] if len(kinds) == 1 else TAPS
    maps = dict(zip(TAPS, (first, second), strict=True))
    for name, asked in zip(names, kinds, strict=True):
        vectors = maps[name].mean(axis=(1, 2)).astype(np.float64)
        mean, scale = vectors.mean(0), 1 / (vectors.std(0) + 1e-3)
        unit = (vectors - mean) * scale
        centres = np.stack([unit[labels == label].mean(0) for label in range(CLASSES)])
        arrays.append(
            TapArrays(
                *(a.astype(np.float32) for a in (mean, scale, centres)),
                np.bincount(labels, minlength=CLASSES).astype(np.float32),
                np.array([1.0, 0.3], np.float32),
            )
        )
        if "heads" in asked:
            centred = vectors - mean
            target = 8.0 * (np.eye(CLASSES)[labels] - 1 / CLASSES)
            square = centred.T @ centred + 0.1 * np.eye(len(mean))
            weight = np.linalg.solve(square, centred.T @ target).T
            heads[name] = Head(weight.astype(np.float32), (-weight @ mean).astype(np.float32))
    segments = cut_segments(whole, names, folder / f"segments{width}", heads)
    path = folder / f"arrays{width}.npz"
    parts = {
        f"{part}_{tap}": array
        for tap, found in enumerate(arrays)
        for part, array in found._asdict().items()
    }
    np.savez(path, **parts)
    shas = [hashlib.sha256(file.read_bytes()).hexdigest() for file in [*segments, path]]
    taps = [Tap(n, s, tuple(k)) for n, s, k in zip(names, shas, kinds, strict=False)]
    variant = make_variant(whole, inspect_model(whole), INPUT, {}, f"width {width}")
    exits = Exits(tuple(taps), shas[len(taps)], shas[-1])
    return CutModel(whole, variant, exits, segments, path, arrays)


def stream_images(count: int, seed: int = 0, size: int = 40, objects: int = 8) -> Array:
    """uint8 (count, size, size, 3): textures that dwell and return, with gain and noise."""
    random = np.random.default_rng(seed)
    stills, _ = texture_images(objects, seed=seed + 1, size=size)
    place, found = 0, []
    for _ in range(count):
        if random.random() < 0.25:
            place = int(random.integers(objects))
        moved = np.roll(stills[place], random.integers(-1, 2, 2), axis=(0, 1)).astype(np.float64)
        moved = moved * random.normal(1, 0.02) + random.normal(0, 3, moved.shape)
        found.append(np.clip(np.rint(moved), 0, 255).astype(np.uint8))
    return np.stack(found)
