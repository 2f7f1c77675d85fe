"""The CIFAR-10 ResNets of the data pack (He et al., 2016, option A), and its images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from benchmarks.zoo import ROOT
from trimtab.variants import export_module

SIDE = 32
#: ImageNet's mean and deviation, in pixels, with which the networks were trained.
INPUT = {
    "size": SIDE,
    "mean": [255 * value for value in (0.485, 0.456, 0.406)],
    "std": [255 * value for value in (0.229, 0.224, 0.225)],
}
#: The one batch that no network was trained on.
TEST_BATCH = 50


class _Block(nn.Module):
    """Two convolutions beside a shortcut that skips pixels and adds channels of zeros."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self._stride, self._more = stride, (width - inside) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self._more:
            step, more = self._stride, self._more
            x = functional.pad(x[:, :, ::step, ::step], (0, 0, 0, 0, more, more))
        return functional.relu(found + x)


class ResNet(nn.Module):
    """ResNet-(6 n + 2) for 32x32 images and ten classes."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stack(16, 16, blocks, 1)
        self.layer2 = self._stack(16, 32, blocks, 2)
        self.layer3 = self._stack(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stack(inside: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [_Block(width, width, 1) for _ in range(blocks - 1)]
        return nn.Sequential(_Block(inside, width, stride), *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        found: torch.Tensor = self.linear(x.mean(dim=(2, 3)))
        return found


def resnet(depth: int) -> ResNet:
    """ResNet-20, 32 or 56, without weights."""
    return ResNet((depth - 2) // 6)


def write_resnet(data: Path, depth: int, target: Path, side: int = SIDE) -> None:
    """ResNet-20, 32 or 56 with its weights as an ONNX file, for images of that side."""
    (state,) = (data / "cifar10" / "models").glob(f"resnet{depth}-*.th")
    export_module("benchmarks.cifar:resnet", {"depth": depth}, state, side, target, folder=ROOT)


def write_images(data: Path, folder: Path, batches: Sequence[int]) -> None:
    """Images of some batches as `BATCH-ROW.png` with a `labels.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (data / "cifar10" / "images" / "labels.csv").open() as stream:
        wanted = [row for row in csv.DictReader(stream) if int(row["batch"]) in set(batches)]
    sheets = {
        batch: np.asarray(
            Image.open(data / "cifar10" / "images" / f"cifar10_batch_{batch}.png")
        ).reshape(-1, SIDE, SIDE, 3)
        for batch in batches
    }
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label"])
        for row in wanted:
            name = f"{int(row['batch']):02}-{int(row['row']):04}.png"
            Image.fromarray(sheets[int(row["batch"])][int(row["row"])]).save(folder / name)
            writer.writerow([name, row["label"]])
