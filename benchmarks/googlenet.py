"""GoogLeNet as published (Szegedy et al., CVPR 2015, table 1), without its auxiliary heads."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from torch import nn

from trimtab.variants.files.writing import strip_notes, write_model


class Maps(NamedTuple):
    """How many maps the six convolutions of an inception module give (table 1)."""

    one: int  # 1x1
    three_reducer: int
    three: int
    five_reducer: int
    five: int
    pool: int  # 1x1 behind the pooling


#: A stage's modules; a 3x3 max pooling with stride 2 lies behind stages 3 and 4.
STAGES: dict[str, dict[str, Maps]] = {
    "3": {
        "a": Maps(64, 96, 128, 16, 32, 32),
        "b": Maps(128, 128, 192, 32, 96, 64),
    },
    "4": {
        "a": Maps(192, 96, 208, 16, 48, 64),
        "b": Maps(160, 112, 224, 24, 64, 64),
        "c": Maps(128, 128, 256, 24, 64, 64),
        "d": Maps(112, 144, 288, 32, 64, 64),
        "e": Maps(256, 160, 320, 32, 128, 128),
    },
    "5": {
        "a": Maps(256, 160, 320, 32, 128, 128),
        "b": Maps(384, 192, 384, 48, 128, 128),
    },
}


class LocalResponseNorm(nn.LocalResponseNorm):
    """Over 5 channels with alpha 1e-4, beta 0.75 and k 1, as in AlexNet and GoogLeNet."""

    def __init__(self) -> None:
        super().__init__(5, alpha=1e-4, beta=0.75, k=1.0)


class _OnnxLRN(nn.Module):
    """Stands in for LRN while exporting: torch would write seven operators where ONNX has one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attributes: dict[str, int | float] = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}
        found: torch.Tensor = torch.onnx.ops.symbolic(
            "LRN", [x], attributes, dtype=x.dtype, shape=x.shape, version=13
        )
        return found


def _conv(
    inside: int, width: int, kernel: int, stride: int = 1, batch_norm: bool = False
) -> nn.Sequential:
    """A convolution, batch normalisation if wanted, ReLU; He's initial weights."""
    conv = nn.Conv2d(inside, width, kernel, stride, kernel // 2, bias=not batch_norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    norm = [nn.BatchNorm2d(width)] if batch_norm else []
    return nn.Sequential(conv, *norm, nn.ReLU())


class Inception(nn.Module):
    """Four branches side by side, joined in the order 1x1, 3x3, 5x5, pooling."""

    def __init__(self, inside: int, maps: Maps, batch_norm: bool = False) -> None:
        super().__init__()
        self.one = _conv(inside, maps.one, 1, batch_norm=batch_norm)
        self.three = nn.Sequential(
            _conv(inside, maps.three_reducer, 1, batch_norm=batch_norm),
            _conv(maps.three_reducer, maps.three, 3, batch_norm=batch_norm),
        )
        self.five = nn.Sequential(
            _conv(inside, maps.five_reducer, 1, batch_norm=batch_norm),
            _conv(maps.five_reducer, maps.five, 5, batch_norm=batch_norm),
        )
        self.pool = nn.Sequential(
            nn.MaxPool2d(3, 1, 1), _conv(inside, maps.pool, 1, batch_norm=batch_norm)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    """Images (n, 3, H, W), H and W multiples of 32 (16 with `small_stem`), to `classes` scores.

    `width` multiplies every number of maps (rounded to a multiple of 8 above 16, of 4 below).
    `lrn=False` leaves out the two local response normalisations. `small_stem` gives the first
    convolution stride 1, for images of 32 pixels. `batch_norm` puts a batch normalisation behind
    every convolution, to train without warm-up; folded, it leaves the published graph. The nine
    modules are `inception3a` .. `inception5b`.
    """

    def __init__(
        self,
        classes: int = 1000,
        width: float = 1.0,
        lrn: bool = True,
        small_stem: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        first, reducer, inside = (_scaled(maps, width) for maps in (64, 64, 192))
        norm: type[nn.Module] = LocalResponseNorm if lrn else nn.Identity
        layers: dict[str, nn.Module] = {
            "conv1": _conv(3, first, 7, 1 if small_stem else 2, batch_norm),
            "pool1": _halving(),
            "norm1": norm(),
            "reducer2": _conv(first, reducer, 1, batch_norm=batch_norm),
            "conv2": _conv(reducer, inside, 3, batch_norm=batch_norm),
            "norm2": norm(),
            "pool2": _halving(),
        }
        for stage, modules in STAGES.items():
            for letter, published in modules.items():
                maps = Maps(*(_scaled(number, width) for number in published))
                layers[f"inception{stage}{letter}"] = Inception(inside, maps, batch_norm)
                inside = maps.one + maps.three + maps.five + maps.pool
            if stage != "5":
                layers[f"pool{stage}"] = _halving()
        self.features = nn.Sequential()
        for name, layer in layers.items():
            self.features.add_module(name, layer)
        self.dropout = nn.Dropout(0.4)
        self.linear = nn.Linear(inside, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.features(x).mean(dim=(2, 3))
        found: torch.Tensor = self.linear(self.dropout(pooled))
        return found


def _scaled(maps: int, width: float) -> int:
    step = 8 if maps * width > 16 else 4
    return max(step, round(maps * width / step) * step)


def _halving() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def random_googlenet(
    classes: int = 1000, width: float = 1.0, lrn: bool = True, seed: int = 0
) -> GoogLeNet:
    """GoogLeNet with random weights drawn from the seed; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GoogLeNet(classes, width, lrn).eval()


def export_onnx(module: nn.Module, path: Path, size: int | tuple[int, int]) -> Path:
    """Write the module as ONNX for one image (1, 3, height, width), LRN as one operator.

    The same weights give the same bytes. (trimtab's own `export_module` would write LRN as torch
    computes it, in seven operators, which no converted GoogLeNet does.)
    """
    sides = (size, size) if isinstance(size, int) else size
    exported = copy.deepcopy(module).eval().float()
    for layer in list(exported.modules()):
        for name, inner in layer.named_children():
            if isinstance(inner, nn.LocalResponseNorm):
                setattr(layer, name, _OnnxLRN())
    logged = logging.root.manager.disable
    logging.disable(logging.WARNING)  # torch tells at length what it does not find
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            exported,
            (torch.zeros(1, 3, *sides),),
            input_names=["image"],
            output_names=["scores"],
            dynamo=True,
            external_data=False,
        )
    logging.disable(logged)
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    strip_notes(model)
    write_model(model, Path(path))
    return Path(path)
