"""Networks and images of the data pack, and what can be made of them."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

from benchmarks.cifar import INPUT, TEST_BATCH, write_images, write_resnet

NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
#: The same classes by names whose order says nothing.
CODES = ("kiwi", "apple", "zebra", "moon", "crane", "tulip", "bolt", "river", "dune", "yak")
NUMBERED = tuple(f"batch_{number}" for number in range(1, 11))
SPLITS = {"fit": 0.25, "tune": 0.375, "test": 0.375}
#: Wrong for every float network below.
SCALES: Mapping[str, Mapping[str, Any]] = {
    "raw": {"mean": 0, "std": 1},
    "0..1": {"mean": 0, "std": 255},
    "-1..1": {"mean": 127.5, "std": 127.5},
    "std of 0..1": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "ImageNet": {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},
}


@dataclass(frozen=True)
class Networks:
    """Networks of the pack by name: those of ten classes, of ImageNet's 1000, on which scale the
    float ones take pixels, and the depth of the ResNet whose weights are edited."""

    ten: Mapping[str, Mapping[str, Any]]
    thousand: Mapping[str, Mapping[str, Any]]
    scales: Mapping[str, str]
    depth: int


def looked_at(data: Path) -> Networks:
    """Those that the check was made with."""
    cifar, mobile = data / "cifar10" / "models", data / "imagenet" / "models"
    return Networks(
        ten={
            "raw": {"path": cifar / "pretrainedResnet.tflite", "input": SCALES["raw"]},
            "int8": {"path": cifar / "pretrainedResnet_quant.tflite"},
        },
        thousand={
            "mobilenet": {
                "path": mobile / "mobilenet_v1_0.25_224_1_default_1.tflite",
                "input": SCALES["-1..1"],
                "output": {"offset": 1},
            },
            "mobilenet2": {
                "path": mobile / "mobilenet_v2_1.0_224_quant.tflite",
                "output": {"offset": 1},
            },
        },
        scales={"raw": "raw", "mobilenet": "-1..1"},
        depth=20,
    )


def held_out(data: Path) -> Networks:
    """Others, kept aside: no threshold of the check was chosen on them."""
    cifar, mobile = data / "cifar10" / "models", data / "imagenet" / "models"
    return Networks(
        ten={
            "large": {
                "path": cifar / "pretrainedResnet_large_float.tflite",
                "input": SCALES["raw"],
            },
            "large8": {"path": cifar / "pretrainedResnet_large_int8.tflite"},
        },
        thousand={
            "mobile192": {
                "path": mobile / "mobilenet_v1_0.75_192_quant.tflite",
                "output": {"offset": 1},
            },
            "mobile2": {
                "path": mobile / "tf2_mobilenet_v2_1.0_224_ptq.tflite",
                "output": {"offset": 1},
            },
        },
        scales={"large": "raw"},
        depth=32,
    )


class Pack:
    """Networks and images of the data pack, in a `work` folder."""

    def __init__(self, data: Path, work: Path, networks: Networks) -> None:
        self.data, self.work = data, work
        self.cifar = work / "cifar"
        write_images(data, self.cifar, [TEST_BATCH])
        self.imagenet = data / "imagenet" / "images"
        self.net = f"resnet{networks.depth}"
        write_resnet(data, networks.depth, work / f"{self.net}.onnx")
        own = {"path": work / f"{self.net}.onnx", "input": INPUT}
        self.ten = (*networks.ten, self.net)
        self.members: dict[str, Mapping[str, Any]] = {
            **networks.ten,
            self.net: own,
            **networks.thousand,
        }
        self.scales = {**networks.scales, self.net: "ImageNet"}

    def rows(self, place: Path) -> list[tuple[str, int]]:
        """File and label of each image."""
        with (place / "labels.csv").open() as stream:
            return [(row["file"], int(row["label"])) for row in csv.DictReader(stream)]

    def spec(
        self,
        member: str,
        name: str,
        rows: Sequence[tuple[str, object]] | None = None,
        images: Callable[[], Path] | None = None,
        classes: Sequence[str] | None = NAMES,
        **changes: Any,
    ) -> dict[str, Any]:
        """A job over one member, on the labels of `rows`. `changes` are those of the member."""
        ours = member in self.ten
        place = images() if images else self.cifar if ours else self.imagenet
        if rows is not None and len(rows) < len(self.rows(place)):
            whole, place = place, Path(tempfile.mkdtemp(dir=self.work))
            for file, _ in rows:
                shutil.copyfile(whole / file, place / file)
        table = self.work / f"{len(list(self.work.glob('*.csv'))):03}.csv"
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", "label"])
            writer.writerows(self.rows(place) if rows is None else rows)
        workload = {"images": str(place), "labels": str(table), "splits": SPLITS}
        if ours and classes is not None:
            workload["classes"] = list(classes)
        model = {**self.members[member], **changes}
        return {
            "name": name[:100],
            "models": [{**model, "path": str(model["path"]), "name": member}],
            "workload": workload,
            "objectives": {"top1": "max", "latency_mean_ms": "min"},
        }

    def named(self, names: Sequence[str] = NAMES) -> list[tuple[str, object]]:
        """The labels of the ten classes, by names."""
        return [(file, names[label]) for file, label in self.rows(self.cifar)]

    def altered(self, name: str, change: Callable[[Image.Image], Image.Image], of: Path) -> Path:
        """All images of a folder, changed."""
        place = self.work / f"{of.name}-{name}"
        if place.exists():
            return place
        place.mkdir()
        for file, _ in self.rows(of):
            with Image.open(of / file) as image:
                change(image.convert("RGB")).save((place / file).with_suffix(".png"))
        rows = [(str(Path(file).with_suffix(".png")), label) for file, label in self.rows(of)]
        with (place / "labels.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("file", "label"), *rows])
        return place

    def wide(self, member: str) -> Path:
        """Photographs at 16:9: mirrored surroundings left and right of what a network knows."""
        of = self.cifar if member in self.ten else self.imagenet
        return self.altered("wide", _widened, of)

    def folders(self, name: str, splits: Sequence[str]) -> Path:
        """The ten classes as folders below others: the images of a class by turns."""
        place, seen = self.work / f"folders-{name}", dict[int, int]()
        for file, label in self.rows(self.cifar)[:600]:
            number = seen[label] = seen.get(label, -1) + 1
            target = place / splits[number % len(splits)] / NAMES[label]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.cifar / file, target / file)
        return place

    def edited(self, name: str, change: Callable[[str, np.ndarray[Any, Any]], Any]) -> Path:
        """The ResNet with its weights changed: `change` takes their role ('first' kernel, 'last'
        matrix, its 'bias') and gives new ones."""
        model = onnx.load(self.work / f"{self.net}.onnx")
        held = {tensor.name: tensor for tensor in model.graph.initializer}
        gemm = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
        conv = next(node for node in model.graph.node if node.op_type == "Conv")
        roles = {"first": conv.input[1], "last": gemm.input[1], "bias": gemm.input[2]}
        for role, tensor in roles.items():
            value = change(role, numpy_helper.to_array(held[tensor]).copy())
            held[tensor].CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor))
        target = self.work / f"{self.net}-{name}.onnx"
        onnx.save(model, target)
        return target


def _widened(image: Image.Image) -> Image.Image:
    side = (image.height * 16 // 9 - image.width) // 2
    return Image.fromarray(np.pad(np.asarray(image), ((0, 0), (side, side), (0, 0)), "reflect"))
