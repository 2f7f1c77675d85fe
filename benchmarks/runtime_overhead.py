"""What does `trimtab_runtime` add to a bare onnxruntime call?

EfficientNet-Lite0 (ImageNet weights, from the `demo` extra), one thread: a plan exported as a
bundle and loaded from it answers for a tensor that is ready (probabilities, confidence, class), in
turns with the least code that gives an answer: `InferenceSession.run` on the same model and
tensor, and `argmax`. Prints one JSON object as its last line; `overhead` is the median of the
paired differences, as a fraction of the median bare call, with its 95 % bootstrap interval.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
import typer
from PIL import Image
from scipy import stats

from benchmarks._options import DEFAULT_DATA, ROOT, NoData
from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.variants import export_module, inspect_model, make_variant
from trimtab_runtime import Plan
from trimtab_runtime.definitions.plan import (
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.engines._onnx import session_options
from trimtab_runtime.fingerprint import fingerprint
from trimtab_runtime.images.preprocess import Preprocessor

SIZE = (224, 224)


def main(
    pairs: Annotated[int, typer.Option(help="calls of each kind")] = 1500,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Export, load, time in turns, print."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRIMTAB_CACHE"] = str(Path(folder) / "cache")
        print(json.dumps(measured(Path(folder), pairs)))


def measured(folder: Path, pairs: int) -> dict[str, float | list[float]]:
    """The figures of the benchmark."""
    entry, target = "benchmarks.zoo:efficientnet_lite", folder / "lite0.onnx"
    model = export_module(entry, {"number": 0}, None, SIZE, target, folder=ROOT)
    plan = Plan.load(str(bundle_of(model, folder)))
    options = plan.manifest.structure.stages[0].options
    session = onnxruntime.InferenceSession(str(model), session_options(options))
    prepared = Preprocessor(photograph(np.random.default_rng(0)))
    feeds = {session.get_inputs()[0].name: prepared.tensor(plan.manifest.variants[0].input)}
    expected = int(session.run(None, feeds)[0].argmax())
    bare, ours = [], []
    for number in range(pairs + 50):
        order = (bare, ours) if number % 2 else (ours, bare)
        for times in order:
            start = time.perf_counter_ns()
            if times is bare:
                answer = session.run(None, feeds)[0].argmax()
            else:
                answer = plan.classify(prepared).index
            if answer != expected:
                raise AssertionError("the plan answers otherwise than its model")
            times.append((time.perf_counter_ns() - start) / 1e6)
    kept = np.array(bare[50:]), np.array(ours[50:])

    def overhead(bare_ms: np.ndarray, ours_ms: np.ndarray, axis: int = -1) -> np.ndarray:
        found: np.ndarray = np.median(ours_ms - bare_ms, axis) / np.median(bare_ms, axis)
        return found

    interval = stats.bootstrap(
        kept, overhead, paired=True, n_resamples=2000, method="percentile", vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return {
        "overhead": float(overhead(*kept)),
        "overhead_interval": [float(interval.low), float(interval.high)],
        "bare_ms": float(np.median(kept[0])),
        "ours_ms": float(np.median(kept[1])),
        "pairs": pairs,
    }


def bundle_of(model: Path, folder: Path) -> Path:
    """A plan of one stage as a bundle."""
    said = {"size": SIZE, "resize": "bicubic", "mean": 127, "std": 128}
    variant = make_variant(model, inspect_model(model), said, {}, "lite0")
    stage = Stage(variant.sha256, RuntimeOptions("onnxruntime"))
    image = folder / "golden.png"
    photograph(np.random.default_rng(1)).save(image)
    parts = BundleParts(
        name="lite0",
        definition=PlanDefinition(Structure("single", (stage,))),
        points=[OperatingPoint()],
        variants={variant.sha256: variant},
        models={variant.sha256: model},
        labels=[str(index) for index in range(1000)],
        images=[image],
        fingerprint=fingerprint(),
    )
    return write_bundle(parts, folder / "lite0.pyz")


def photograph(generator: np.random.Generator) -> Image.Image:
    """A random picture: times do not depend on what it shows."""
    return Image.fromarray(generator.integers(0, 256, (320, 320, 3), dtype=np.uint8))


if __name__ == "__main__":
    typer.run(main)
