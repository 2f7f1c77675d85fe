"""Networks as frameworks export them, for intake_matrix: one cell a framework and variation."""

from __future__ import annotations

import copy
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = 10
#: Exporter and opset: the older one, and torch's default of today.
OLD, NEW = (11, 13, 17, 20), (18, 20, 22, 24)


@dataclass(frozen=True)
class Cell:
    """A file and what it should answer: `tensors` (n, ...) as they are fed, `answers` (n, classes)
    of the framework's own, `tolerance` of the largest of them."""

    framework: str
    network: str
    variation: str
    path: Path
    tensors: Array
    answers: Array
    tolerance: float = 1e-3


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


def networks(packages: Path | None) -> Iterator[tuple[str, str, Callable[[], Any], int]]:
    """(framework, name, what makes it, side in pixels) of everything that can be imported."""
    yield "torch", "small", SmallNetwork, 32
    if packages is None:
        return
    sys.path.append(str(packages))
    for make in (_torchvision, _timm, _transformers):
        try:
            yield from make()
        except ImportError as error:
            print(f"left out: {make.__name__[1:]} ({error})", flush=True)


def _register_nms() -> None:
    """torchvision's wheels for GPUs define these in a library that is not loaded without one."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)


_KEPT: list[Any] = []


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except RuntimeError:
        _register_nms()
        return importlib.import_module(name)


def _torchvision() -> Iterator[tuple[str, str, Callable[[], Any], int]]:
    models = _import("torchvision").models
    for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"):
        yield "torchvision", name, lambda n=name: models.get_model(n, num_classes=CLASSES), 64


def _timm() -> Iterator[tuple[str, str, Callable[[], Any], int]]:
    timm = _import("timm")
    for name in ("mobilenetv4_conv_small", "efficientnet_lite0", "convnext_atto", "fastvit_t8"):
        yield "timm", name, lambda n=name: timm.create_model(n, num_classes=CLASSES), 64
    arguments = {"img_size": 32, "patch_size": 4, "depth": 2, "num_classes": CLASSES}
    name = "vit_tiny_patch16_224"
    yield "timm", name, lambda: timm.create_model(name, **arguments), 32


class Logits(torch.nn.Module):
    """The logits alone of what transformers returns."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(pixel_values=pixel_values).logits
        return result


def _transformers() -> Iterator[tuple[str, str, Callable[[], Any], int]]:
    hub = _import("transformers")
    small = {"num_labels": CLASSES, "hidden_size": 48, "num_hidden_layers": 2}
    patches = {
        "image_size": 32,
        "patch_size": 4,
        "num_attention_heads": 4,
        "intermediate_size": 96,
    }

    def vit() -> Any:
        return Logits(hub.ViTForImageClassification(hub.ViTConfig(**small, **patches)))

    def resnet() -> Any:
        config = hub.ResNetConfig(
            num_labels=CLASSES, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1]
        )
        return Logits(hub.ResNetForImageClassification(config))

    yield "transformers", "vit", vit, 32
    yield "transformers", "resnet", resnet, 32


def exported(
    framework: str, name: str, make: Callable[[], Any], side: int, folder: Path, quick: bool
) -> Iterator[Cell | str]:
    """Every variation of a network that its exporter writes; a line for one that it does not."""
    torch.manual_seed(0)
    model = make().train()
    images = torch.randn(10, 3, side, side)
    with torch.no_grad():
        for _ in range(20):  # or what random weights give vanishes in float16
            model(torch.randn(16, 3, side, side))
        model.eval()
        answers = torch.cat([model(image[None]) for image in images]).numpy()
    axes = {"images": dict(enumerate(("batch", "channels", "height", "width")))}
    plans: list[tuple[str, dict[str, Any], bool]] = []
    for opset in OLD[2:3] if quick else OLD:
        plans.append((f"old {opset} fixed", {"dynamo": False, "opset_version": opset}, False))
    plans.append(
        ("old 17 open", {"dynamo": False, "opset_version": 17, "dynamic_axes": axes}, False)
    )
    for opset in NEW[:1] if quick else NEW:
        plans.append((f"new {opset} beside", {"dynamo": True, "opset_version": opset}, False))
    plans.append(("new 18 one file", {"dynamo": True, "external_data": False}, False))
    plans.append(("old 17 float16", {"dynamo": False, "opset_version": 17}, True))
    for variation, options, half in plans:
        path = folder / f"{framework}-{name}-{variation.replace(' ', '-')}.onnx"
        network = copy.deepcopy(model).half() if half else model
        tensors = images.half() if half else images
        try:
            _write(network, tensors[:1], path, options)
        except Exception as error:  # an exporter may raise anything of torch's
            yield f"{framework} {name} {variation}: not exported ({type(error).__name__})"
            continue
        tolerance = 0.05 if half else 1e-3
        yield Cell(framework, name, variation, path, tensors.numpy(), answers, tolerance)


def _write(network: Any, example: torch.Tensor, path: Path, options: dict[str, Any]) -> None:
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        names = {"input_names": ["images"], "output_names": ["logits"]}
        torch.onnx.export(network, (example,), str(path), **names, **options)
