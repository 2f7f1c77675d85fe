"""A small zoo, photographs, and bundles made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_models import INPUT, texture_images, write_onnx
from sample_tflite import write_tflite

from planner.export import BundleParts, write_bundle
from trimtab_runtime.definition import (
    InputFormat,
    OperatingPoint,
    OutputFormat,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
    Variant,
)
from trimtab_runtime.engines import format_engine
from variants import inspect_model, make_variant


@dataclass(frozen=True)
class Member:
    """A model file with what is said of it."""

    path: Path
    variant: Variant

    @property
    def options(self) -> RuntimeOptions:
        return RuntimeOptions(format_engine(self.variant.format))


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Member]:
    """Four members: ONNX of two sizes, float TFLite, and TFLite that is uint8 throughout."""
    folder = tmp_path_factory.mktemp("zoo")
    files = {
        "tiny": write_onnx(folder / "tiny.onnx", 2),
        "small": write_onnx(folder / "small.onnx", 4, softmax=True),
        "lite": write_tflite(folder / "lite.tflite", 8, softmax=False),
        "bytes": write_tflite(folder / "bytes.tflite", 8, quantised=True),
    }
    resize = {"tiny": "box", "small": "bilinear", "lite": "bilinear", "bytes": "bicubic"}
    found = {}
    for name, path in files.items():
        said = {**INPUT, "resize": resize[name]}
        found[name] = Member(path, make_variant(path, inspect_model(path), said, {}, name))
    return found


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """48 photographs, 44 pixels a side, so that every member must resize them."""
    folder = tmp_path_factory.mktemp("photos")
    images, _ = texture_images(48, seed=7, size=44)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


PartsMaker = Callable[..., BundleParts]


@pytest.fixture(scope="session")
def parts_of(zoo: Mapping[str, Member], photos: Sequence[Path]) -> PartsMaker:
    """parts_of(names, thresholds, rule=, points=): a plan over members of the zoo."""

    def make(
        names: Sequence[str],
        thresholds: Sequence[float] = (),
        rule: str = "last",
        points: Sequence[OperatingPoint] | None = None,
    ) -> BundleParts:
        stages = [
            Stage(zoo[name].variant.sha256, zoo[name].options, 1.0 + number / 4)
            for number, name in enumerate(names)
        ]
        route = "single" if len(names) == 1 else "cascade"
        return BundleParts(
            name=" > ".join(names),
            definition=PlanDefinition(Structure(route, tuple(stages), rule), tuple(thresholds)),
            points=points or [OperatingPoint(tuple(thresholds), {"latency_mean_ms": 1.0})],
            variants={member.variant.sha256: member.variant for member in zoo.values()},
            models={member.variant.sha256: member.path for member in zoo.values()},
            labels=["north", "north-east", "east", "south-east"],
            images=photos[:12],
            fingerprint={"machine": "test", "onnxruntime": "1", "litert": "2"},
        )

    return make


@pytest.fixture(scope="session")
def cascade(parts_of: PartsMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two stages, ONNX then TFLite, with three operating points."""
    points = [
        OperatingPoint((0.0,), {"latency_mean_ms": 1.0, "top1": 0.5}),
        OperatingPoint((0.6,), {"latency_mean_ms": 2.0, "top1": 0.7}),
        OperatingPoint((1.5,), {"latency_mean_ms": 3.0, "top1": 0.9}),
    ]
    parts = parts_of(["tiny", "bytes"], [0.6], points=points)
    return write_bundle(parts, tmp_path_factory.mktemp("bundle") / "plan.pyz")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test unpacks into a folder of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRIMTAB_CACHE", str(folder))
    return folder


VariantMaker = Callable[..., Variant]


@pytest.fixture(scope="session")
def variant_of() -> VariantMaker:
    """variant_of(path, input=, output=): a variant of any file, checked by nobody."""

    def make(path: Path, **said: Any) -> Variant:
        content = path.read_bytes()
        return Variant(
            name=path.stem,
            sha256=hashlib.sha256(content).hexdigest(),
            format=path.suffix[1:],
            size_bytes=len(content),
            input=said.get("input", InputFormat((4, 4), layout="nhwc")),
            output=said.get("output", OutputFormat()),
        )

    return make


@pytest.fixture
def noise() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images that no model has seen, of many confidences."""
    sharp, _ = texture_images(40, seed=31, size=40)
    random = np.random.default_rng(3).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)
    return np.concatenate([sharp, random, (sharp[:20] // 3 + 80)])
