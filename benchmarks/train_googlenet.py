"""Trains a half-width GoogLeNet on CIFAR-10 batches 0 to 39 at 64x64 pixels, on a CPU.

    OMP_NUM_THREADS=1 nice -n 19 python -m benchmarks.train_googlenet

The network is trained with a batch normalisation behind every convolution, folded away at the
end, so that what is written is the published graph. Half of the epochs see 48x48 pixels, which
costs 0.6 of 64x64 (progressive resizing). One thread and the same library versions give the same
weights; the state is kept after every epoch, and a killed run goes on from there. Prints one JSON
object as its last line: for `tune` and `test`, batches that were not trained on, top-1 in percent
of the network as `trained` and as written, `folded` in float16.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from benchmarks._fast_lrn import FastLRN
from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.cifar import INPUT, SIDE
from benchmarks.googlenet import GoogLeNet

WEIGHTS = Path(__file__).parent / "weights" / "googlenet_cifar10.npz"
STATE = WEIGHTS.with_name("googlenet_cifar10.state.pt")
CLASSES, WIDTH, SIZE = 10, 0.5, 64
IMAGES = 1000  # of a batch
FIT, TUNE, TEST = range(40), range(40, 45), range(45, 50)

EPOCHS, SMALL_EPOCHS, SMALL_SIZE = 24, 12, 48
BATCH = 128
PEAK_RATE, WARM_SHARE = 0.1, 0.2
MOMENTUM, DECAY, SMOOTHING = 0.9, 5e-4, 0.1
PADDING = 4
SEED = 0
#: Behind a batch normalisation maps are about 1 high, where LRN's alpha of 1e-4 would do nothing;
#: the maps of a network fed with pixels are tens to hundreds high. So the maps that LRN sees are
#: made this much higher (the factor goes into the convolution before, when folding).
LRN_SCALE = 100.0
_NORMALISED = {"features.conv1": "features.norm1", "features.conv2": "features.norm2"}

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Recipe(NamedTuple):
    """What may be changed from outside, mostly to try the script out."""

    epochs: int = EPOCHS
    small_epochs: int = SMALL_EPOCHS
    limit: int | None = None  # images of each split

    def size(self, epoch: int) -> int:
        """The side of the images that an epoch sees."""
        return SMALL_SIZE if epoch < self.small_epochs else SIZE


def read_images(
    data: Path, batches: Sequence[int], limit: int | None = None
) -> tuple[Pixels, Labels]:
    """The first `limit` images (n, 32, 32, 3) of some batches, and their labels (n,)."""
    folder = data / "cifar10" / "images"
    sheets = [np.asarray(Image.open(folder / f"cifar10_batch_{batch}.png")) for batch in batches]
    with (folder / "labels.csv").open() as stream:
        rows = [(int(row["batch"]), int(row["row"]), row) for row in csv.DictReader(stream)]
    found = {(batch, number): int(row["label"]) for batch, number, row in rows}
    pixels = np.concatenate(sheets).reshape(-1, SIDE, SIDE, 3)
    labels = [found[batch, row] for batch in batches for row in range(IMAGES)]
    return pixels[:limit], np.asarray(labels[:limit], np.int64)


def trained_googlenet(path: Path = WEIGHTS) -> GoogLeNet:
    """The trained network: images (n, 3, 64, 64), normalised as `cifar.INPUT` says."""
    network = GoogLeNet(CLASSES, WIDTH, lrn=True)
    with np.load(path, allow_pickle=False) as stored:
        state = {key: torch.from_numpy(stored[key].astype(np.float32)) for key in stored.files}
    network.load_state_dict(state)
    return network.eval()


def learner() -> GoogLeNet:
    """The network as it is trained: with batch normalisation, a faster LRN, and no dropout."""
    torch.manual_seed(SEED)
    network = GoogLeNet(CLASSES, WIDTH, lrn=True, batch_norm=True)
    for place in _NORMALISED.values():
        network.set_submodule(place, FastLRN(LRN_SCALE))
    network.dropout.p = 0.0  # so few epochs do not overfit
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def fold(network: GoogLeNet) -> dict[str, torch.Tensor]:
    """The state of GoogLeNet without batch normalisation that computes what `network` does."""
    state = {key: value for key, value in network.state_dict().items() if "linear" in key}
    for name, layer in network.named_modules():
        if not (isinstance(layer, nn.Sequential) and len(layer) == 3):
            continue
        conv, norm = layer[0], layer[1]
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        height = LRN_SCALE if name in _NORMALISED else 1.0
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.weight * (height * factor)[:, None, None, None]
        state[f"{name}.0.weight"] = weight.detach().contiguous()
        state[f"{name}.0.bias"] = (height * (norm.bias - factor * norm.running_mean)).detach()
    return state


def write_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write the tensors in float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves: dict[str, Any] = {
        key: value.numpy().astype(np.float16) for key, value in state.items()
    }
    assert all(np.isfinite(value).all() for value in halves.values()), "beyond float16"
    np.savez(path, **halves)


def prepare(pixels: Pixels, size: int) -> torch.Tensor:
    """Images (n, 32, 32, 3) as the network's inputs (n, 3, size, size), resized bilinearly."""
    mean, std = torch.tensor(INPUT["mean"]), torch.tensor(INPUT["std"])
    plain = ((torch.from_numpy(pixels).float() - mean) / std).permute(0, 3, 1, 2)
    if size == SIDE:
        return plain
    return functional.interpolate(plain, (size, size), mode="bilinear")


def augment(padded: Pixels, chosen: NDArray[np.int64], rng: np.random.Generator) -> Pixels:
    """Crops of 32x32 from the chosen images, padded (n, 40, 40, 3), half of them mirrored."""
    corners = rng.integers(0, 2 * PADDING + 1, (len(chosen), 2))
    steps = rng.choice((-1, 1), len(chosen))
    crops = [
        padded[index, top : top + SIDE, left : left + SIDE][:, ::step]
        for index, (top, left), step in zip(chosen, corners, steps, strict=True)
    ]
    return np.stack(crops)


def accuracy(network: nn.Module, pixels: Pixels, labels: Labels, size: int = SIZE) -> float:
    """Top-1 in percent."""
    network.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            scores = network(prepare(pixels[start : start + BATCH], size))
            right += int((scores.argmax(1).numpy() == labels[start : start + BATCH]).sum())
    return 100 * right / len(pixels)


def rate(step: float, steps: int) -> float:
    """One cycle: a line up to the peak, then a cosine to zero."""
    warm = WARM_SHARE * steps
    if step < warm:
        return PEAK_RATE * (step + 1) / (warm + 1)
    return float(PEAK_RATE * 0.5 * (1 + np.cos(np.pi * (step - warm) / (steps - warm))))


def optimiser(network: nn.Module) -> torch.optim.SGD:
    """Nesterov's momentum; weights decay, biases and normalisations do not."""
    heavy = [value for value in network.parameters() if value.ndim > 1]
    light = [value for value in network.parameters() if value.ndim == 1]
    groups = [{"params": heavy, "weight_decay": DECAY}, {"params": light, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, PEAK_RATE, MOMENTUM, nesterov=True)


def run_epoch(
    network: nn.Module,
    stepper: torch.optim.SGD,
    padded: Pixels,
    labels: Labels,
    epoch: int,
    recipe: Recipe,
) -> float:
    """Train for an epoch; return its mean loss."""
    network.train()
    rng = np.random.default_rng([SEED, epoch])
    size = recipe.size(epoch)
    batches = len(labels) // BATCH
    order = rng.permutation(len(labels))[: batches * BATCH].reshape(batches, BATCH)
    losses = []
    for number, chosen in enumerate(order):
        for group in stepper.param_groups:
            group["lr"] = rate(epoch * batches + number, recipe.epochs * batches)
        images = prepare(augment(padded, chosen, rng), size)
        scores = network(images.contiguous(memory_format=torch.channels_last))
        target = torch.from_numpy(labels[chosen])
        loss = functional.cross_entropy(scores, target, label_smoothing=SMOOTHING)
        stepper.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        losses.append(loss.item())
        if number % 50 == 0:
            print(f"  epoch {epoch} batch {number}/{batches} loss {losses[-1]:.3f}", flush=True)
    return float(np.mean(losses))


def train(data: Path, kept: Path, recipe: Recipe) -> GoogLeNet:
    """Train, or go on from the state kept in a file; return the network, not folded."""
    network = learner()
    stepper = optimiser(network)
    first = 0
    if kept.is_file():
        found = torch.load(kept, weights_only=True)
        network.load_state_dict(found["network"])
        stepper.load_state_dict(found["stepper"])
        first = found["epochs"]
        print(f"going on after {first} epochs", flush=True)
    pixels, labels = read_images(data, FIT, recipe.limit)
    edge = (PADDING, PADDING)
    padded = np.pad(pixels, ((0, 0), edge, edge, (0, 0)), "reflect")
    tune = read_images(data, TUNE[:1], recipe.limit)
    for epoch in range(first, recipe.epochs):
        start = time.monotonic()
        loss = run_epoch(network, stepper, padded, labels, epoch, recipe)
        seconds = time.monotonic() - start
        done = {
            "network": network.state_dict(),
            "stepper": stepper.state_dict(),
            "epochs": epoch + 1,
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(done, kept.with_suffix(".new"))
        os.replace(kept.with_suffix(".new"), kept)
        size = recipe.size(epoch)
        top1 = accuracy(network, *tune, size=size)
        print(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.3f}, top-1 on batch {TUNE[0]} "
            f"{top1:.1f} % at {size}x{size}, {seconds:.0f} s",
            flush=True,
        )
    return network


def main(
    data: DataFolder = DEFAULT_DATA,
    out: Path = WEIGHTS,
    kept: Annotated[Path, typer.Option(help="the state after every epoch")] = STATE,
    epochs: int = EPOCHS,
    small_epochs: Annotated[int, typer.Option(help="at 48x48")] = SMALL_EPOCHS,
    limit: Annotated[int | None, typer.Option(help="images of each split, to try it out")] = None,
) -> None:
    """Train, fold, write, report."""
    torch.set_num_threads(1)
    recipe = Recipe(epochs, small_epochs, limit)
    network = train(data, kept, recipe)
    write_weights(fold(network), out)
    written = trained_googlenet(out)
    figures = {}
    for name, batches in (("tune", TUNE), ("test", TEST)):
        images = read_images(data, batches, recipe.limit)
        before, after = accuracy(network, *images), accuracy(written, *images)
        figures[name] = {"trained": before, "folded": after}
    print(json.dumps(figures))


if __name__ == "__main__":
    typer.run(main)
