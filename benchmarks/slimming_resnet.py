"""ResNet-56 slimmed to the latency of its smaller sisters, taught by itself alone.

The CIFAR-10 networks of the data pack. Blocks are proposed for regions of ResNet-56 by the rules,
timed by turns on one thread, learned from batches 0 to 39 without labels, and put together in sets
by search/block_sets.py; of the sets that, built, are at least as fast as ResNet-32 (or ResNet-20),
the one of the least damage is learned bottom up (`slim_at_...`) and then taught end to end by
ResNet-56 (`at_...`). Batch 50 reports: top-1, and paired differences in points with 95 % bootstrap
intervals.
Latency: medians of all networks in turns, onnxruntime with all optimisations, one thread.
Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy import stats

from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.cifar import INPUT, TEST_BATCH, write_resnet
from benchmarks.slim_sets import find_blocks, medians_in_turns, multiplies_bfloat16
from benchmarks.slimming_shape import session_of
from benchmarks.train_googlenet import FIT, read_images
from trimtab.variants import inspect_model, make_variant
from trimtab.variants.slimming import (
    DistillRecipe,
    FolderCache,
    LearnRecipe,
    TrainingImages,
    distill,
    slim,
    write_network,
)
from trimtab_runtime.images.preprocess import Preprocessor

Array = np.ndarray[Any, np.dtype[Any]]
_RULES = ("residual", "prune")
#: Images that single blocks are learned from, and all of a set from the bottom up: convolutions
#: see many positions of each.
_ALONE, _TOGETHER = 1500, 6000
#: Blocks that are learned, those that save most.
_LEARNED = 90
#: Images are blended, since ResNet-56 knows those of its training by heart.
_MIX = 0.3


def main(
    data: DataFolder = DEFAULT_DATA,
    images: Annotated[int, typer.Option(help="of batches 0 to 39, to teach with")] = 40_000,
    epochs: Annotated[
        tuple[int, int], typer.Option(help="of end-to-end teaching, as ResNet-20 and ResNet-32")
    ] = (20, 20),
    rate: Annotated[float, typer.Option(help="Adam's, of that teaching")] = 1e-3,
    keep: Annotated[Path | None, typer.Option(help="keep what is learned here")] = None,
) -> None:
    """Time, learn, choose, build, report."""
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        paths = {f"resnet{depth}": folder / f"resnet{depth}.onnx" for depth in (20, 32, 56)}
        for depth in (20, 32, 56):
            write_resnet(data, depth, paths[f"resnet{depth}"])
        pixels, _ = read_images(data, FIT, images)
        variant = make_variant(
            paths["resnet56"], inspect_model(paths["resnet56"]), INPUT, {}, "resnet56"
        )

        def inputs(count: int) -> TrainingImages:
            def feeds() -> Iterator[Array]:
                for image in pixels[:count]:
                    yield Preprocessor(image).tensor(variant.input)

            return TrainingImages(feeds, f"cifar10 batches 0-39, {count}")

        cache = FolderCache(keep or folder / "learned")
        blocks = find_blocks(paths["resnet56"], _RULES, inputs(_ALONE), cache, most=_LEARNED)
        chosen: dict[str, list[str]] = {}
        for depth, most in zip((20, 32), epochs, strict=True):
            recipe = DistillRecipe(
                epochs=most, learning_rate=rate, patience=most, flip=True, shift=4, mix=_MIX,
                batch=128, loss="kl", normalise=True, bfloat16=multiplies_bfloat16(),
                max_bytes=1_000_000_000,
            )  # fmt: skip
            proposals = blocks.set_as_fast_as(paths[f"resnet{depth}"])
            chosen[f"at_resnet{depth}"] = [proposal.note for proposal in proposals]
            slimmed = slim(
                blocks.network, proposals, inputs(_TOGETHER), LearnRecipe(epochs=8, solve=False),
                0, cache, blocks.learned,
            )  # fmt: skip
            path = paths[f"slim_at_resnet{depth}"] = folder / f"slim_at_resnet{depth}.onnx"
            write_network(slimmed.model, path)
            taught = distill(
                blocks.network, slimmed.model, inputs(images), recipe, 0, cache,
                [part.region for part in slimmed.parts], _told(depth),
            )  # fmt: skip
            path = paths[f"at_resnet{depth}"] = folder / f"at_resnet{depth}.onnx"
            write_network(taught.model, path)
        figures = {"blocks": chosen, "fit_minutes": (time.monotonic() - began) / 60}
        print(json.dumps(figures | _figures(data, paths)))


def _told(depth: int) -> Any:
    def told(epoch: int, epochs: int, error: float) -> None:
        print(f"at ResNet-{depth}: epoch {epoch} of {epochs}, error {error:.4f}", flush=True)

    return told


def _figures(data: Path, paths: dict[str, Path]) -> dict[str, Any]:
    pixels, labels = read_images(data, [TEST_BATCH])
    right = {}
    for name, path in paths.items():
        variant = make_variant(path, inspect_model(path), INPUT, {}, name)
        session = session_of(path)
        feed = session.get_inputs()[0].name
        answers = [
            session.run(None, {feed: Preprocessor(image).tensor(variant.input)})[0].argmax()
            for image in pixels
        ]
        right[name] = np.array(answers) == labels

    def against(name: str, base: str) -> list[float]:
        gain = 100.0 * (right[name].astype(float) - right[base])
        bounds = stats.bootstrap(
            (gain,), np.mean, n_resamples=2000, rng=np.random.default_rng(0)
        ).confidence_interval
        return [float(gain.mean()), float(bounds.low), float(bounds.high)]

    return {
        "median_ms": medians_in_turns(paths, 300),
        "top1": {name: float(found.mean()) for name, found in right.items()},
        "top1_at_resnet32_latency": float(right["at_resnet32"].mean()),
        "top1_at_resnet20_latency": float(right["at_resnet20"].mean()),
        "difference_to_resnet56_at_resnet32": against("at_resnet32", "resnet56"),
        "difference_to_resnet56_at_resnet20": against("at_resnet20", "resnet56"),
        "difference_to_resnet56_before_teaching": [
            against(f"slim_at_resnet{depth}", "resnet56") for depth in (32, 20)
        ],
        "difference_to_resnet32": against("at_resnet32", "resnet32"),
        "difference_to_resnet20": against("at_resnet20", "resnet20"),
    }


if __name__ == "__main__":
    typer.run(main)
