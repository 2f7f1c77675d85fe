"""What the published slimming of GoogLeNet saves, and what it loses once learned.

(a) Shape: benchmarks/slimming_shape.py. (b) Accuracy: the GoogLeNet of benchmarks/weights (half
width, 64x64, pooling and LRN), trained on CIFAR-10 batches 0 to 39. Of the blocks that streamline
and branch slimming propose (Li, Wang, Kong, AAAI 2018; also: leaving an LRN out, computing it
faster) the set of least errors is taken that, built, reaches `speeds` times the speed here, as it
is and as w8a8; no block of it may leave more than `worst` of its map's variance unexplained. It is
learned on batches 0 to 39 without labels, block by block from the bottom up, then end to end;
w8a8 is calibrated on 300 of these images. Batches 40 to 44 (`tune`) and 45 to 49 (`test`) are only
reported on. Speed is that of onnxruntime with all optimisations on one thread, networks in turns,
the median of processes of their own. Prints one JSON object as its last line; intervals are 95 %
bootstrap, paired.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy import stats

from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.cifar import INPUT
from benchmarks.googlenet import export_onnx
from benchmarks.slim_sets import find_blocks, multiplies_bfloat16, one_core, speed_of
from benchmarks.slimming_shape import session_of, shape_figures, times_in_turns
from benchmarks.train_googlenet import (
    FIT,
    SIZE,
    TEST,
    TUNE,
    Labels,
    Pixels,
    read_images,
    trained_googlenet,
)
from trimtab.variants import inspect_model, make_variant, quantise_w8a8
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

_RULES = ("streamline", "branch", "normalisation", "lrn")
_CALIBRATION = 300
#: In which networks are timed, one after another: where a session's memory lies counts.
_PROCESSES = 9
#: Images that blocks are learned from one by one.
_ALONE = 4000
Array = np.ndarray[Any, np.dtype[Any]]


def main(
    data: DataFolder = DEFAULT_DATA,
    images: Annotated[int, typer.Option(help="of batches 0 to 39, to learn from")] = 40_000,
    epochs: Annotated[int, typer.Option(help="of end-to-end teaching, at most")] = 18,
    speeds: Annotated[
        tuple[float, float], typer.Option(help="what the set of blocks is to reach: fp32, w8a8")
    ] = (2.4, 4.1),
    worst: Annotated[float, typer.Option(help="largest error of a block")] = 0.25,
    rounds: Annotated[int, typer.Option(help="runs of each network, a process")] = 200,
    shape: Annotated[bool, typer.Option(help="part (a) too")] = True,
    keep: Annotated[Path | None, typer.Option(help="keep what is learned here")] = None,
) -> None:
    """Slim, learn, quantise, time in turns, print."""
    figures: dict[str, Any] = {"images": images}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = _networks(data, folder, keep or folder / "learned", images, epochs, speeds, worst)
        paths, figures["blocks"], figures["fit_minutes"] = made
        figures |= _accuracy(data, paths)
        figures |= _speeds(paths, rounds)
        print(json.dumps(figures), flush=True)
        if shape:
            with one_core():
                figures["shape"] = shape_figures(folder, rounds)
    print(json.dumps(figures))


def _networks(
    data: Path,
    folder: Path,
    kept: Path,
    images: int,
    epochs: int,
    speeds: tuple[float, float],
    worst: float,
) -> tuple[dict[str, Path], list[str], float]:
    """Files of the original, the slimmed one and that quantised; what was replaced; minutes of
    learning."""
    paths = {form: folder / f"{form}.onnx" for form in ("original", "slim", "slim_w8a8")}
    export_onnx(trained_googlenet(), paths["original"], SIZE)
    said = {**INPUT, "size": SIZE}
    variant = make_variant(paths["original"], inspect_model(paths["original"]), said, {}, "net")
    pixels, _ = read_images(data, FIT, images)

    def inputs(count: int) -> TrainingImages:
        def feeds() -> Iterator[Array]:
            for image in pixels[:count]:
                yield Preprocessor(image).tensor(variant.input)

        return TrainingImages(feeds, f"cifar10 batches 0-39, {count}")

    cache, began = FolderCache(kept), time.monotonic()
    blocks = find_blocks(paths["original"], _RULES, inputs(_ALONE), cache, worst)
    few = [pixels[i] for i in np.random.default_rng(0).choice(len(pixels), _CALIBRATION, False)]

    def quantised(path: Path, out: Path) -> Path:
        variant = make_variant(path, inspect_model(path), said, {}, "slim")
        quantise_w8a8(path, variant, few, out)
        return out

    def fast(path: Path) -> bool:
        original, (float_speed, byte_speed) = paths["original"], speeds
        if speed_of(path, original) < float_speed:
            return False
        return speed_of(quantised(path, folder / "tried.onnx"), original) >= byte_speed

    proposals = blocks.least_set(fast, speeds=speeds, worst=worst)
    print("\n".join(["replaced:", *(proposal.note for proposal in proposals)]), flush=True)

    def told(step: Any) -> None:
        if step.epoch == step.epochs:
            print(f"{step.number}/{step.blocks} {step.note}: {step.error:.4f}", flush=True)

    def taught(epoch: int, epochs: int, error: float) -> None:
        print(f"teaching, epoch {epoch} of {epochs}: {error:.4f}", flush=True)

    network = blocks.network
    recipe = LearnRecipe(solve=False)
    found = slim(network, proposals, inputs(_ALONE), recipe, 0, cache, blocks.learned, told)
    regions = [part.region for part in found.parts]
    lesson = DistillRecipe(
        epochs=epochs,
        batch=128,
        learning_rate=1e-3,
        patience=epochs,
        loss="kl",
        flip=True,
        shift=4,
        mix=0.3,
        normalise=True,
        bfloat16=multiplies_bfloat16(),
        max_bytes=2_500_000_000,
    )
    taught_well = distill(network, found.model, inputs(images), lesson, 0, cache, regions, taught)
    minutes = (time.monotonic() - began) / 60
    write_network(taught_well.model, paths["slim"])
    quantised(paths["slim"], paths["slim_w8a8"])
    return paths, [proposal.note for proposal in proposals], minutes


def _speeds(paths: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Medians over processes, and the least and the most that one found."""
    found: list[dict[str, float]] = []
    for _ in range(_PROCESSES):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found.append(pool.submit(_medians, paths, rounds).result())
    figures: dict[str, Any] = {}
    for form in ("slim", "slim_w8a8"):
        ratios = [ms["original"] / ms[form] for ms in found]
        figures[f"speedup_{form}"] = float(np.median(ratios))
        figures[f"speedup_{form}_range"] = [min(ratios), max(ratios)]
    figures["median_ms"] = {form: float(np.median([ms[form] for ms in found])) for form in paths}
    return figures


def _medians(paths: dict[str, Path], rounds: int) -> dict[str, float]:
    with one_core():
        times = times_in_turns(paths, rounds, SIZE)
    return {form: float(np.median(taken)) for form, taken in times.items()}


def _accuracy(data: Path, paths: dict[str, Path]) -> dict[str, Any]:
    """Top-1 on tune and test, and what is lost on test against the original, in points."""
    figures: dict[str, Any] = {}
    for split, batches in (("tune", TUNE), ("test", TEST)):
        pixels, labels = read_images(data, batches)
        right = {form: _right(path, pixels, labels) for form, path in paths.items()}
        figures[f"top1_{split}"] = {form: float(found.mean()) for form, found in right.items()}
        if split == "test":
            for form in ("slim", "slim_w8a8"):
                lost = 100.0 * (right["original"].astype(float) - right[form])
                bounds = stats.bootstrap(
                    (lost,), np.mean, n_resamples=2000, rng=np.random.default_rng(0)
                ).confidence_interval
                figures[f"top1_drop_points_{form}"] = float(lost.mean())
                figures[f"top1_drop_interval_{form}"] = [float(bounds.low), float(bounds.high)]
    return figures


def _right(path: Path, pixels: Pixels, labels: Labels) -> Array:
    """Whether each image (n,) is answered right."""
    variant = make_variant(path, inspect_model(path), {**INPUT, "size": SIZE}, {}, path.stem)
    session = session_of(path)
    name = session.get_inputs()[0].name
    answers = [
        session.run(None, {name: Preprocessor(image).tensor(variant.input)})[0].argmax()
        for image in pixels
    ]
    found: Array = np.array(answers) == labels
    return found


if __name__ == "__main__":
    typer.run(main)
