"""Networks of several frameworks, with random weights, for intake_matrix."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

CLASSES = 10


@dataclass(frozen=True)
class Network:
    """A network that takes square images of a `side` in pixels. `make` makes the torch module;
    `export`, where the framework has an exporter of its own, writes a file into a folder and gives
    its path and the answers (n, classes) to images (n, 3, side, side)."""

    framework: str
    name: str
    side: int
    make: Callable[[], Any] | None = None
    export: Callable[[Path, torch.Tensor], tuple[Path, torch.Tensor]] | None = None
    channels_last: bool = False


class SmallNetwork(torch.nn.Module):
    """Convolutions with batch normalisation, a residual, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = torch.nn.BatchNorm2d(16)
        self.block = torch.nn.Conv2d(16, 16, 3, 1, 1)
        self.drop = torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(16, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(images)))
        x = torch.relu(x + self.block(x))
        result: torch.Tensor = self.head(self.drop(x.mean((2, 3))))
        return result


class Logits(torch.nn.Module):
    """The logits alone of what transformers returns."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(pixel_values=pixel_values).logits
        return result


def networks(packages: Path | None) -> Iterator[Network | str]:
    """Everything that can be imported, the slowest first; a line for what cannot."""
    if packages is not None:
        sys.path.append(str(packages))
        _silence()
        for make in (_timm, _keras, _torchvision, _transformers, _ultralytics):
            try:
                yield from make()
            except ImportError as error:
                yield f"left out: {make.__name__[1:]} ({error})"
    yield Network("torch", "small", 32, SmallNetwork)


def _silence() -> None:
    """Settings that libraries read when they are imported."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")


def _import(name: str) -> Any:
    """torchvision's wheels for GPUs define two operators in a library that is not loaded without
    one; they are defined here then."""
    try:
        return importlib.import_module(name)
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        _KEPT.append(library)
        return importlib.import_module(name)


_KEPT: list[Any] = []


def _torchvision() -> Iterator[Network]:
    models = _import("torchvision").models
    for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"):
        make = partial(models.get_model, name, num_classes=CLASSES)
        yield Network("torchvision", name, 64, make)


def _timm() -> Iterator[Network]:
    create = _import("timm").create_model
    names = ("fastvit_t8", "mobilenetv4_conv_small", "efficientnet_lite0", "convnext_atto")
    for name in names:
        yield Network("timm", name, 64, partial(create, name, num_classes=CLASSES))
    arguments = {"img_size": 32, "patch_size": 4, "depth": 2, "num_classes": CLASSES}
    name = "vit_tiny_patch16_224"
    yield Network("timm", name, 32, partial(create, name, **arguments))


def _transformers() -> Iterator[Network]:
    _import("torchvision")
    hub = _import("transformers")
    small = {"num_labels": CLASSES, "hidden_size": 48, "num_hidden_layers": 2}
    patches = {
        "image_size": 32,
        "patch_size": 4,
        "num_attention_heads": 4,
        "intermediate_size": 96,
    }
    stages = {"num_labels": CLASSES, "hidden_sizes": [16, 32], "depths": [1, 1]}
    for name, model, config in (
        ("vit", "ViTForImageClassification", hub.ViTConfig(**small, **patches)),
        ("deit", "DeiTForImageClassification", hub.DeiTConfig(**small, **patches)),
        ("resnet", "ResNetForImageClassification", hub.ResNetConfig(embedding_size=16, **stages)),
        (
            "mobilenet_v2",
            "MobileNetV2ForImageClassification",
            hub.MobileNetV2Config(num_labels=CLASSES, depth_multiplier=0.35, image_size=64),
        ),
    ):
        side = 64 if name == "mobilenet_v2" else 32
        kind = getattr(hub, model)
        yield Network("transformers", name, side, partial(_logits, kind, config))


def _logits(kind: Any, config: Any) -> Logits:
    return Logits(kind(config))


def _ultralytics() -> Iterator[Network]:
    _import("torchvision")
    kind = _import("ultralytics").YOLO

    def export(folder: Path, images: torch.Tensor) -> tuple[Path, torch.Tensor]:
        model = kind("yolo11n-cls.yaml")
        model.model.names = {number: f"class{number}" for number in range(1000)}
        model.model.eval()
        with torch.no_grad():
            answers = torch.cat([model.model(image[None])[0] for image in images])
        with chdir(folder):  # it writes there
            return folder / model.export(format="onnx", imgsz=64, simplify=False), answers

    yield Network("ultralytics", "yolo11n-cls", 64, export=export)


def _keras() -> Iterator[Network]:
    keras = _import("keras")

    def export(folder: Path, images: torch.Tensor) -> tuple[Path, torch.Tensor]:
        model = keras.applications.MobileNetV2(
            weights=None, input_shape=(64, 64, 3), classes=CLASSES, alpha=0.35
        )
        last = images.permute(0, 2, 3, 1).numpy()
        for layer in model.layers:
            if hasattr(layer, "momentum"):  # slow, for 20 batches
                layer.momentum = 0.7
        with torch.no_grad():
            for _ in range(20):  # or all images get the same answer
                model(torch.randn(16, 64, 64, 3), training=True)
        with torch.no_grad():
            answers = [np.asarray(model(image[None]).cpu()) for image in last]
            model.export(str(folder / "keras.onnx"), format="onnx", verbose=False)
        return folder / "keras.onnx", torch.from_numpy(np.concatenate(answers))

    yield Network("keras", "mobilenet_v2", 64, export=export, channels_last=True)
