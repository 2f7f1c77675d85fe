"""Set-ups of the data pack's networks: wrong in one way each, or right and odd to look at."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image, ImageFilter

from benchmarks.cifar import INPUT, SIDE, TEST_BATCH, write_images, write_resnet

NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
#: The same classes by names whose order says nothing.
CODES = ("kiwi", "apple", "zebra", "moon", "crane", "tulip", "bolt", "river", "dune", "yak")
NUMBERED = tuple(f"batch_{number}" for number in range(1, 11))
#: Members that know these ten classes.
_TEN = ("raw", "int8", "resnet20")
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
class Case:
    """A specification, and the cause that must be named first ('' where it is right)."""

    name: str
    cause: str
    spec: dict[str, Any]


class Pack:
    """Networks and images of the data pack, in a `work` folder."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work
        self.cifar = work / "cifar"
        write_images(data, self.cifar, [TEST_BATCH])
        self.imagenet = data / "imagenet" / "images"
        write_resnet(data, 20, work / "resnet20.onnx")
        cifar, mobile = data / "cifar10" / "models", data / "imagenet" / "models"
        self.members: dict[str, dict[str, Any]] = {
            "raw": {"path": cifar / "pretrainedResnet.tflite", "input": SCALES["raw"]},
            "int8": {"path": cifar / "pretrainedResnet_quant.tflite"},
            "resnet20": {"path": work / "resnet20.onnx", "input": INPUT},
            "mobilenet": {
                "path": mobile / "mobilenet_v1_0.25_224_1_default_1.tflite",
                "input": SCALES["-1..1"],
                "output": {"offset": 1},
            },
            "mobilenet2": {
                "path": mobile / "mobilenet_v2_1.0_224_quant.tflite",
                "output": {"offset": 1},
            },
        }

    def rows(self, place: Path) -> list[tuple[str, int]]:
        """File and label of each image."""
        with (place / "labels.csv").open() as stream:
            return [(row["file"], int(row["label"])) for row in csv.DictReader(stream)]

    def spec(
        self,
        member: str,
        name: str,
        rows: Sequence[tuple[str, object]] | None = None,
        images: Path | None = None,
        classes: Sequence[str] | None = NAMES,
        **changes: Any,
    ) -> dict[str, Any]:
        """A job over one member, on the labels of `rows`. `changes` are those of the member."""
        ours = member in _TEN
        place = images or (self.cifar if ours else self.imagenet)
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
        place.mkdir()
        for file, _ in self.rows(of):
            with Image.open(of / file) as image:
                change(image.convert("RGB")).save((place / file).with_suffix(".png"))
        rows = [(str(Path(file).with_suffix(".png")), label) for file, label in self.rows(of)]
        with (place / "labels.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("file", "label"), *rows])
        return place

    def edited(self, name: str, change: Callable[[str, np.ndarray[Any, Any]], Any]) -> Path:
        """ResNet-20 with its weights changed: `change` takes their role ('first' kernel, 'last'
        matrix, its 'bias') and gives new ones."""
        model = onnx.load(self.work / "resnet20.onnx")
        held = {tensor.name: tensor for tensor in model.graph.initializer}
        gemm = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
        conv = next(node for node in model.graph.node if node.op_type == "Conv")
        roles = {"first": conv.input[1], "last": gemm.input[1], "bias": gemm.input[2]}
        for role, tensor in roles.items():
            value = change(role, numpy_helper.to_array(held[tensor]).copy())
            held[tensor].CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor))
        target = self.work / f"resnet20-{name}.onnx"
        onnx.save(model, target)
        return target


def wrong(pack: Pack) -> Iterator[Case]:
    """Wrong in one way each."""
    rng = np.random.default_rng(0)

    def case(member: str, what: str, cause: str, **changes: Any) -> Case:
        name = f"{member}: {what}"
        return Case(name, cause, pack.spec(member, name, **changes))

    for member in pack.members:
        said = pack.members[member].get("input", {})
        swapped = {**said, "colour": "bgr"}
        yield case(member, "colours swapped", "colour", input=swapped)
    for member, scales in (
        ("raw", ("0..1", "-1..1", "ImageNet", "std of 0..1")),
        ("resnet20", ("raw", "0..1", "std of 0..1")),
        ("mobilenet", ("raw", "0..1", "std of 0..1")),
    ):
        for scale in scales:
            changed = {**pack.members[member]["input"], **SCALES[scale]}
            yield case(member, f"scale {scale}", "normalisation", input=changed)
    orders: dict[str, Sequence[str]] = {
        "reversed": NAMES[::-1],
        "shifted on": [*NAMES[1:], NAMES[0]],
        "shifted back": [NAMES[-1], *NAMES[:-1]],
        "mixed": [CODES[index] for index in rng.permutation(10)],
        "two swapped": [CODES[1], CODES[0], *CODES[2:]],
        "alphabetical": sorted(CODES),
    }
    for member in _TEN:
        for order, names in orders.items():
            rows = pack.named(CODES if set(names) == set(CODES) else NAMES)
            yield case(member, f"order {order}", "order", rows=rows, classes=names)
        rows = pack.named(NUMBERED)
        yield case(member, "order of text", "order", rows=rows, classes=sorted(NUMBERED))
        labels = rng.permutation([label for _, label in pack.rows(pack.cifar)])
        rows = [(f, int(k)) for (f, _), k in zip(pack.rows(pack.cifar), labels, strict=True)]
        yield case(member, "labels of other images", "near chance", rows=rows)
    for member in ("mobilenet", "mobilenet2"):
        yield case(member, "background not declared", "offset", output={"offset": 0})
        rows = [(file, label + 1) for file, label in pack.rows(pack.imagenet)]
        rows = [(file, min(label, 999)) for file, label in rows]
        yield case(member, "labels counted from 1", "offset", rows=rows)

    def always(role: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return value + 1e4 * (np.arange(10) == 3) if role == "bias" else value

    for what, rows in (
        ("as many of each class", None),
        ("one class rare", _rare(pack.rows(pack.cifar))),
    ):
        path = pack.edited(f"constant {what}", always)
        yield case("resnet20", f"constant network, {what}", "always", rows=rows, path=path)


def right(pack: Pack) -> Iterator[Case]:
    """Right, and odd to look at."""
    rng = np.random.default_rng(1)

    def case(member: str, what: str, **changes: Any) -> Case:
        name = f"{member}: {what}"
        return Case(name, "", pack.spec(member, name, **changes))

    def noise(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image) + rng.normal(0, 20, (image.height, image.width, 3))
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    changes: dict[str, Callable[[Image.Image], Image.Image]] = {
        "noisy": noise,
        "grey": lambda image: image.convert("L").convert("RGB"),
        "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 60)),
        "dark": lambda image: image.point(lambda value: value // 2),
    }
    for what, change in changes.items():
        small = pack.altered(what, change, pack.cifar)
        large = pack.altered(what, change, pack.imagenet)
        for member in pack.members:
            yield case(member, what, images=small if member in _TEN else large)
    for member in pack.members:
        place = pack.cifar if member in _TEN else pack.imagenet
        rows = pack.rows(place)
        yield case(member, "as it should be")
        yield case(member, "24 images", rows=rows[:24])
        yield case(member, "another resize", input=_resized(pack.members[member], "bicubic"))
        few = [row for row in rows if row[1] < max(label for _, label in rows) * 0.3]
        yield case(member, "few of the classes", rows=few)
        drawn = rng.random(len(rows)) < 0.3
        other = [row[1] for row in rows]
        rng.shuffle(other)
        torn = [(f, o if d else k) for (f, k), d, o in zip(rows, drawn, other, strict=True)]
        yield case(member, "three labels in ten wrong", rows=torn)
    for member in _TEN:
        yield case(member, "a rare class", rows=_rare(pack.rows(pack.cifar)))

    def turned(role: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return value[:, ::-1] if role == "first" else value

    path = pack.edited("bgr", turned)
    reverse = {key: list(values)[::-1] for key, values in INPUT.items() if key != "size"}
    said = {"size": SIDE, **reverse, "colour": "bgr"}
    yield case("resnet20", "fed with BGR", path=path, input=said)
    order = rng.permutation(10)
    path = pack.edited("order", lambda role, v: v if role == "first" else v[order])
    names = [NAMES[index] for index in order]
    yield case("resnet20", "classes in no order", rows=pack.named(), classes=names, path=path)


def _rare(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Two classes, one of them with four images."""
    kept = [row for row in rows if row[1] == 3]
    return [*kept, *[row for row in rows if row[1] == 5][:4]]


def _resized(member: Mapping[str, Any], how: str) -> dict[str, Any]:
    return {**member.get("input", {}), "resize": how}
