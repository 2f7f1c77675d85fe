"""What do taps that never fire cost?

EfficientNet-Lite0 (ImageNet weights, from the `demo` extra), one thread, fp32 and w8a8: the whole
network, in turns with the same network cut at five taps, whose pooled vectors are looked up among
100 class centres each, as published, and never answer. `overhead` is the median of the paired
differences, as a fraction of the median whole run, with its 95 % bootstrap interval; `segments`
the part of it without the look-ups; `lookup_us` one look-up. Answers are checked to be equal in
every bit. Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy import stats

from benchmarks._options import DEFAULT_DATA, ROOT, NoData
from benchmarks.runtime_overhead import SIZE, photograph
from trimtab.variants import (
    cut_segments,
    derive_variant,
    export_module,
    inspect_model,
    make_variant,
    quantise_w8a8,
    usable_taps,
)
from trimtab_runtime.definitions.exits import Centres, Exits, ExitThresholds, Memory, Tap
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine, create_segments
from trimtab_runtime.engines.base import SegmentedEngine
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.memory.semantic import Recall, TapArrays

TAPS, CLASSES = 5, 100
OPTIONS = RuntimeOptions("onnxruntime")
_WARM = 20


def main(
    pairs: Annotated[int, typer.Option(help="runs of each kind")] = 300,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Cut, time in turns, print."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry, target = "benchmarks.zoo:efficientnet_lite", folder / "lite0.onnx"
        model = export_module(entry, {"number": 0}, None, SIZE, target, folder=ROOT)
        said = {"resize": "bicubic", "mean": 127, "std": 128}
        variant = make_variant(model, inspect_model(model), said, {}, "lite0")
        small = folder / "w8a8.onnx"
        quantise_w8a8(model, variant, [photograph(generator) for _ in range(20)], small)
        figures = {
            "fp32": _measured(model, variant, folder / "fp32", pairs),
            "w8a8": _measured(small, derive_variant(small, variant, "w8a8"), folder / "q", pairs),
        }
    print(json.dumps({"taps": TAPS, "centres": CLASSES, **figures}))


def _measured(path: Path, variant: Variant, folder: Path, pairs: int) -> dict[str, Any]:
    places, reason = usable_taps(path, TAPS)
    assert len(places) == TAPS, reason
    folder.mkdir()
    segments = cut_segments(path, [place.name for place in places], folder)
    taps = tuple(Tap(place.name, "", ("centres",)) for place in places)
    whole = create_engine(str(path), variant, OPTIONS)
    paths = [str(segment) for segment in segments]
    chain = create_segments(paths, variant, Exits(taps, "", ""), OPTIONS)
    recall = _recall(taps, [place.channels for place in places])
    generator = np.random.default_rng(1)
    tensor = Preprocessor(photograph(generator)).tensor(variant.input)
    said = np.zeros(CLASSES, np.float32)

    def looked_up() -> np.ndarray[Any, Any]:
        recall.begin()
        found = _run(chain, tensor, lambda vector: recall.at_tap(vector, None))
        recall.finish(said, 0)
        return found

    kinds: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "whole": lambda: whole.run(tensor),
        "segments": lambda: _run(chain, tensor, lambda vector: None),
        "looked_up": looked_up,
    }
    expected = kinds["whole"]()
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(pairs + _WARM):
        order = list(kinds) if number % 2 else list(reversed(kinds))
        for name in order:
            start = time.perf_counter_ns()
            found = kinds[name]()
            elapsed = (time.perf_counter_ns() - start) / 1e6
            assert found.tobytes() == expected.tobytes(), "a bit differs"
            if number >= _WARM:
                times[name].append(elapsed)
    base = np.array(times["whole"])
    extra = {name: np.array(times[name]) - base for name in ("segments", "looked_up")}
    interval = stats.bootstrap((extra["looked_up"],), np.median, rng=0).confidence_interval
    whole_ms = float(np.median(base))
    between = np.array(times["looked_up"]) - np.array(times["segments"])
    return {
        "overhead": float(np.median(extra["looked_up"])) / whole_ms,
        "interval": [float(interval.low) / whole_ms, float(interval.high) / whole_ms],
        "segments": float(np.median(extra["segments"])) / whole_ms,
        "lookup_us": 1000 * float(np.median(between)) / TAPS,
        "whole_ms": whole_ms,
    }


def _run(
    chain: SegmentedEngine, tensor: np.ndarray[Any, Any], look: Callable[[Any], Any]
) -> np.ndarray[Any, Any]:
    chain.start(tensor)
    for _ in range(TAPS):
        vector, _ = chain.tap()
        look(vector)
    return chain.finish()


def _recall(taps: tuple[Tap, ...], channels: list[int]) -> Recall:
    """Random centres that nothing comes near enough to."""
    generator = np.random.default_rng(2)
    arrays = []
    for width in channels:
        flat, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
        centres = generator.normal(size=(CLASSES, width)).astype(np.float32)
        members = np.ones(CLASSES, np.float32)
        arrays.append(TapArrays(flat, ones, centres, members, np.ones(2, np.float32)))
    recall = Recall(Memory(centres=Centres()), taps, arrays, CLASSES)
    recall.use(ExitThresholds(centres=1e12))
    return recall


if __name__ == "__main__":
    typer.run(main)
