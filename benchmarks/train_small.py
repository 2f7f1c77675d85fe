"""Trains the two small networks of `benchmarks.mixed_precision` on CIFAR-10, on a CPU.

    OMP_NUM_THREADS=1 nice -n 19 python -m benchmarks.train_small

The hard-swish network learns from batches 0 to 39; the transformer from the features (mirrored
images too) that the first two stages of the data pack's ResNet-20 make of `--features` of these
images, whose weights stay as they are. Prints one JSON object as its last line: `vit` and
`mobilenet` are their top-1 in percent on batches 45 to 49, which were not trained on, as written,
in float16.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import nn
from torch.nn import functional

from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks._small_networks import (
    SmallMobileNet,
    SmallTransformer,
    small_network,
    weights_file,
)
from benchmarks.cifar import SIDE, resnet
from benchmarks.train_googlenet import (
    BATCH,
    FIT,
    PADDING,
    SEED,
    SMOOTHING,
    TEST,
    accuracy,
    augment,
    optimiser,
    prepare,
    read_images,
)

Batch = tuple[torch.Tensor, torch.Tensor]


def taught(
    network: nn.Module,
    stepper: torch.optim.Optimizer,
    score: Callable[[torch.Tensor], torch.Tensor],
    batch: Callable[[np.ndarray, np.random.Generator], Batch],
    count: int,
    epochs: int,
) -> None:
    """Teach by one cycle of the learning rate; `batch` makes inputs and labels of the numbers of
    examples, of which there are `count`."""
    batches = count // BATCH
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        stepper, [group["lr"] for group in stepper.param_groups], epochs * batches, pct_start=0.2
    )
    for epoch in range(epochs):
        network.train()
        rng, began, losses = np.random.default_rng([SEED, epoch]), time.process_time(), []
        for chosen in rng.permutation(count)[: batches * BATCH].reshape(batches, BATCH):
            inputs, labels = batch(chosen, rng)
            loss = functional.cross_entropy(score(inputs), labels, label_smoothing=SMOOTHING)
            stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            stepper.step()
            cycle.step()
            losses.append(loss.item())
        spent = time.process_time() - began
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}, {spent:.0f} s", flush=True)


def teach_mobilenet(data: Path, epochs: int, limit: int | None) -> nn.Module:
    torch.manual_seed(SEED)
    network = SmallMobileNet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels, labels = read_images(data, FIT, limit)
    edge = (PADDING, PADDING)
    padded = np.pad(pixels, ((0, 0), edge, edge, (0, 0)), "reflect")

    def batch(chosen: np.ndarray, rng: np.random.Generator) -> Batch:
        images = prepare(augment(padded, chosen, rng), SIDE)
        shown = images.contiguous(memory_format=torch.channels_last)
        return shown, torch.from_numpy(labels[chosen])

    taught(network, optimiser(network), network, batch, len(labels), epochs)
    return network


def teach_transformer(data: Path, epochs: int, limit: int) -> nn.Module:
    torch.manual_seed(SEED)
    network = SmallTransformer()
    network.stem.load_state_dict(_stem(data))
    pixels, labels = read_images(data, FIT, limit)
    both = np.concatenate([pixels, pixels[:, :, ::-1]])
    with torch.inference_mode():
        network.stem.eval()
        features = torch.cat(
            [
                network.stem(prepare(both[start : start + BATCH], SIDE)).half()
                for start in range(0, len(both), BATCH)
            ]
        )
    known = torch.from_numpy(labels)

    def batch(chosen: np.ndarray, rng: np.random.Generator) -> Batch:
        mirrored = chosen + len(labels) * rng.integers(0, 2, len(chosen))
        return features[torch.from_numpy(mirrored)].float(), known[torch.from_numpy(chosen)]

    learned = [value for name, value in network.named_parameters() if "stem" not in name]
    stepper = torch.optim.AdamW(learned, 2e-3, weight_decay=0.05)
    taught(network, stepper, network.classify, batch, len(labels), epochs)
    return network


def _stem(data: Path) -> dict[str, torch.Tensor]:
    """The state of the stem, from the checkpoint of ResNet-20."""
    (file,) = (data / "cifar10" / "models").glob("resnet20-*.th")
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    whole = resnet(20)
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    whole.load_state_dict(plain)
    own = SmallTransformer().stem
    stages = nn.Sequential(whole.conv1, whole.bn1, nn.ReLU(), whole.layer1, whole.layer2)
    own.load_state_dict(stages.state_dict())
    return own.state_dict()


def write_small(network: nn.Module, name: str) -> None:
    """Write the tensors in float16."""
    halves = {
        key: value.numpy().astype(np.float16)
        for key, value in network.state_dict().items()
        if "num_batches" not in key
    }
    assert all(np.isfinite(value).all() for value in halves.values()), "beyond float16"
    weights_file(name).parent.mkdir(parents=True, exist_ok=True)
    np.savez(weights_file(name), **halves)  # type: ignore[arg-type]  # numpy's `allow_pickle`


def main(
    data: DataFolder = DEFAULT_DATA,
    only: Annotated[str, typer.Option(help="mobilenet or vit; both without it")] = "",
    mobilenet_epochs: int = 9,
    vit_epochs: int = 8,
    limit: Annotated[int | None, typer.Option(help="images, to try it out")] = None,
    features: Annotated[int, typer.Option(help="images the transformer learns from")] = 20_000,
) -> None:
    """Teach, write, report."""
    torch.set_num_threads(1)
    if only in ("", "vit"):
        write_small(teach_transformer(data, vit_epochs, limit or features), "vit")
    if only in ("", "mobilenet"):
        write_small(teach_mobilenet(data, mobilenet_epochs, limit), "mobilenet")
    images = read_images(data, TEST, limit)
    names = [name for name in ("mobilenet", "vit") if weights_file(name).is_file()]
    print(json.dumps({n: accuracy(small_network(n), *images, size=SIDE) for n in names}))


if __name__ == "__main__":
    typer.run(main)
