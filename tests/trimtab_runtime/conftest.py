"""A small zoo, photographs, and bundles made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from early_plans import TAP_KINDS, CutModel, cut_model, stream_images
from PIL import Image
from sample_models import INPUT, texture_images, write_onnx
from sample_routers import sha256_of, write_linear_router, write_margin_scorer
from sample_tflite import write_tflite

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime.definitions.exits import Centres, ExitThresholds, Memory, Prior
from trimtab_runtime.definitions.plan import (
    InputFormat,
    OperatingPoint,
    OutputFormat,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
    Variant,
)
from trimtab_runtime.definitions.routers import Router, Scorer
from trimtab_runtime.engines import format_engine


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


@pytest.fixture(scope="session")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, CutModel]:
    """`tiny`, with one tap with heads; `small`, with all kinds at two taps; `centred`."""
    folder = tmp_path_factory.mktemp("cuts")
    return {
        "tiny": cut_model(folder, 3, [("heads",)]),
        "small": cut_model(folder, 8, [TAP_KINDS, TAP_KINDS]),
        "centred": cut_model(folder, 6, [("centres",), ("centres",)]),
    }


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """120 frames of a stream of textures."""
    folder = tmp_path_factory.mktemp("frames")
    for number, image in enumerate(stream_images(120, seed=5)):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return sorted(folder.iterdir())


#: Remembers in every way there is.
FULL_MEMORY = Memory(
    thumbnails=3,
    instances=6,
    centres=Centres("probability", window=10, update="all"),
    prior=Prior(weight=0.5, final=0.2),
)
#: Each kind of exit answers some frames of `frames`.
SOME_OF_EACH = ExitThresholds(thumbnails=2.6, instances=0.9, centres=0.9, heads=0.93)

EarlyMaker = Callable[..., BundleParts]


@pytest.fixture(scope="session")
def early_of(
    cuts: Mapping[str, CutModel], zoo: Mapping[str, Member], frames: Sequence[Path]
) -> EarlyMaker:
    """early_of(names, thresholds, exits, memory, rule, points): a plan over `cuts`, and over
    members of `zoo` that are named with a `+`."""

    def make(
        names: Sequence[str] = ("tiny", "small"),
        thresholds: Sequence[float] = (0.9,),
        exits: ExitThresholds = SOME_OF_EACH,
        memory: Memory = FULL_MEMORY,
        rule: str = "last",
        points: Sequence[OperatingPoint] | None = None,
    ) -> BundleParts:
        stages, variants, models, files = [], {}, {}, {}
        for name in names:
            if name.startswith("+"):
                member = zoo[name[1:]]
                stages.append(Stage(member.variant.sha256, member.options, 1.25))
                variants[member.variant.sha256] = member.variant
                models[member.variant.sha256] = member.path
            else:
                stages.append(cuts[name].stage(1.5))
                variants[cuts[name].variant.sha256] = cuts[name].variant
                files.update(cuts[name].files)
        route = "single" if len(names) == 1 else "cascade"
        structure = Structure(route, tuple(stages), rule, memory)
        own = OperatingPoint(tuple(thresholds), {"latency_mean_ms": 1.0}, exits)
        return BundleParts(
            name="early",
            definition=PlanDefinition(structure, tuple(thresholds), exits),
            points=points or [own],
            variants=variants,
            models=models,
            labels=["north", "north-east", "east", "south-east"],
            images=frames[:24],
            fingerprint={"machine": "test", "onnxruntime": "1"},
            files=files,
        )

    return make


@pytest.fixture(scope="session")
def early(early_of: EarlyMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two stages in segments, with every kind of exit, at three operating points."""
    points = [
        OperatingPoint((0.9,), {"latency_mean_ms": 1.0}, SOME_OF_EACH),
        OperatingPoint((0.9,), {"latency_mean_ms": 2.0}, ExitThresholds(heads=0.99)),
        OperatingPoint((0.9,), {"latency_mean_ms": 3.0}),
    ]
    folder = tmp_path_factory.mktemp("early")
    return write_bundle(early_of(points=points), folder / "early.pyz")


@pytest.fixture(scope="session")
def premodels(
    zoo: Mapping[str, Member], photos: Sequence[Path], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """Bundles of two stages, the first with a scorer, behind a router of `image` features or at a
    `tap`, where a later tap may answer too."""
    folder, found = tmp_path_factory.mktemp("premodels"), {}
    scorer = write_margin_scorer(folder / "scorer.onnx", 4)
    cut = cut_model(folder, 6, [(), ("heads",)])
    last = Stage(zoo["small"].variant.sha256, zoo["small"].options)
    for kind, first, count, names in (
        ("image", Stage(zoo["tiny"].variant.sha256, last.options), 1, ("hue_1",)),
        ("tap", cut.stage(), 6, ()),
    ):
        weight = np.stack([np.ones(count), np.zeros(count)])
        path = write_linear_router(folder / f"{kind}.onnx", weight, np.array([0.0, 0.5]))
        router = Router(sha256_of(path), kind, (1.0, 2.0), names)
        stages = (replace(first, scorer=Scorer(sha256_of(scorer))), last)
        exits = ExitThresholds(heads=0.9) if kind == "tap" else ExitThresholds()
        parts = BundleParts(
            name=f"premodel of {kind}",
            definition=PlanDefinition(
                Structure("premodel", stages, router=router), (0.5,), exits, 0.1
            ),
            points=[OperatingPoint((0.5,), {"latency_mean_ms": 1.0}, exits, 0.1)],
            variants={v.sha256: v for v in (cut.variant, *(m.variant for m in zoo.values()))},
            models={member.variant.sha256: member.path for member in zoo.values()},
            labels=["north", "north-east", "east", "south-east"],
            images=photos[:12],
            fingerprint={"machine": "test", "onnxruntime": "1"},
            files={sha256_of(path): path, sha256_of(scorer): scorer, **cut.files},
        )
        found[kind] = write_bundle(parts, folder / f"{kind}.pyz")
    return found


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
