"""The probe on features, routers and scorers, in this process."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from early_plans import cut_model
from sample_models import CLASSES
from sample_routers import (
    sha256_of,
    write_linear_router,
    write_margin_scorer,
    write_pooling_router,
)

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.codec import DecodeError, decode, encode
from trimtab_runtime.definitions.plan import (
    InputFormat,
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images import preprocess
from trimtab_runtime.images.features import IMAGE_FEATURES, image_features
from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.answers import trace, verify
from trimtab_runtime.probe.features import features
from trimtab_runtime.probe.measure import measure
from trimtab_runtime.probe.requests import (
    FeaturesRequest,
    MeasureRequest,
    MeasureSettings,
    RouterFile,
    StageFile,
    TraceRequest,
    VerifyRequest,
    kind_of,
)

SHORT = MeasureSettings(
    seconds=0.05, min_rounds=4, warmup_seconds=0.01, idle_seconds=0.01, energy_seconds=0.01
)
OPTIONS = RuntimeOptions("onnxruntime")
PARTS = ("resize_ms", "tensor_ms", "inference_ms")
PLAIN = {f"{s}_{p}" for s in ("0_hot", "0_beside", "1_beside") for p in PARTS} | {
    "reference_ms",
    "parallel_ms",
}


def nobody(done: int, total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def unpinned() -> Iterator[None]:
    """A probe keeps its process on some cores."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deciders")


def router_file(folder: Path, kind: str, count: int, stages: int = 2, **more: Any) -> RouterFile:
    path = folder / f"{kind}{count}{stages}.onnx"
    write_linear_router(path, np.ones((stages, count)), np.zeros(stages))
    costs = tuple(float(stage) for stage in range(stages))
    return RouterFile(str(path), Router(sha256_of(path), kind, costs, **more))


def file_of(member: Any, **more: Any) -> StageFile:
    return StageFile(str(member.path), member.variant, member.options, **more)


def test_features(photos: Sequence[Path], tmp_path: Path) -> None:
    images, names = tuple(map(str, photos[:9])), ("contrast", "hue_3", "keypoints")
    request = FeaturesRequest(images, names, str(tmp_path / "out.npz"))
    assert decode(FeaturesRequest, encode(request)) == request
    assert kind_of(request) == "features"
    found = features(request, nobody)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays.files == ["features"]
        rows = arrays["features"]
    assert rows.dtype == np.float32
    expected = [image_features(Preprocessor(decode_image(p)).rgb(), names) for p in images]
    np.testing.assert_array_equal(rows, np.stack(expected))
    assert len(found["samples"]["features_ms"]) == 9
    assert min(found["samples"]["features_ms"]) > 0


def test_features_in_a_process_of_their_own(photos: Sequence[Path], tmp_path: Path) -> None:
    asked = {
        "kind": "features",
        "images": [str(photos[0])],
        "names": list(IMAGE_FEATURES),
        "output": str(tmp_path / "out.npz"),
    }
    (tmp_path / "request.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "trimtab_runtime.probe"]
    files = [str(tmp_path / name) for name in ("request.json", "result.json")]
    done = subprocess.run([*command, *files], check=True, capture_output=True, text=True)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "ok", done
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays["features"].shape == (1, len(IMAGE_FEATURES))


def test_features_that_nobody_knows() -> None:
    with pytest.raises(DecodeError, match="names must be one of keypoints"):
        decode(FeaturesRequest, {"images": [], "names": ["beauty"], "output": ""})


@pytest.mark.parametrize("kind", ["image", "tensor"])
def test_a_router_in_front_is_measured(
    zoo: Mapping[str, Any],
    photos: Sequence[Path],
    folder: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resized: list[InputFormat] = []
    original = preprocess.resized_pixels
    monkeypatch.setattr(
        preprocess,
        "resized_pixels",
        lambda image, fmt: (resized.append(fmt), original(image, fmt))[1],
    )
    if kind == "image":
        router = router_file(folder, kind, 2, names=("contrast", "hue_1"))
    else:
        fmt = zoo["tiny"].variant.input  # the same as that of a stage: resized by both
        path = write_pooling_router(
            folder / "pool.onnx", np.ones((2, 3)), np.zeros(2), fmt.size[0]
        )
        router = RouterFile(str(path), Router(sha256_of(path), kind, (1.0, 2.0), input=fmt))
    files = (file_of(zoo["tiny"]), file_of(zoo["lite"]))
    request = MeasureRequest(files, tuple(map(str, photos[:6])), SHORT, router=router)
    assert decode(MeasureRequest, encode(request)) == request
    found = measure(request, nobody)
    samples = found["samples"]
    assert set(samples) == PLAIN | {"router_ms"}
    firsts = sum(len(samples[f"0_{c}_inference_ms"]) for c in ("hot", "beside"))
    assert len(samples["router_ms"]) == firsts
    assert min(samples["router_ms"]) > 0
    first = zoo["tiny"].variant.input
    own = (1 + (kind == "tensor")) * firsts
    assert resized.count(first) >= own, "the stage resizes for itself, and so does the router"
    assert found["values"]["load_ms"] > 0


def test_scorers_are_measured(
    zoo: Mapping[str, Any], photos: Sequence[Path], folder: Path
) -> None:
    scorer = str(write_margin_scorer(folder / "margin.onnx", CLASSES))
    files = (file_of(zoo["tiny"], scorer=scorer), file_of(zoo["lite"]))
    samples = measure(MeasureRequest(files, tuple(map(str, photos[:6])), SHORT), nobody)["samples"]
    assert set(samples) == PLAIN | {"0_scorer_ms"}
    assert min(samples["0_scorer_ms"]) > 0


@pytest.mark.parametrize("kinds", [[()], [(), ("heads",)]], ids=["alone", "with-heads"])
def test_a_router_at_a_tap_is_measured(
    zoo: Mapping[str, Any],
    photos: Sequence[Path],
    folder: Path,
    kinds: list[tuple[str, ...]],
    tmp_path: Path,
) -> None:
    cut = cut_model(tmp_path, 3, kinds)
    heads = len(kinds) > 1
    exits = cut.exits if heads else dataclasses.replace(cut.exits, arrays="")
    paths = tuple(str(path) for path in cut.segments)
    arrays = str(cut.arrays_path) if heads else None
    scorer = str(write_margin_scorer(folder / "tap.onnx", CLASSES))
    stage = StageFile("", cut.variant, OPTIONS, exits, paths, arrays, scorer)
    traced = trace(TraceRequest(stage, tuple(map(str, photos[:4])), str(tmp_path / "t")), nobody)
    assert traced["values"]["classes"] == CLASSES
    with np.load(tmp_path / "t.npz", allow_pickle=False) as found:
        channels = found["vector_0"].shape[1]
    router = router_file(folder, "tap", channels)
    request = MeasureRequest(
        (stage, file_of(zoo["lite"])), tuple(map(str, photos[:6])), SHORT, router=router
    )
    samples = measure(request, nobody)["samples"]
    last = len(kinds)
    assert {f"{last}_scorer_ms", "router_ms", f"{last + 1}_beside_inference_ms"} <= set(samples)
    firsts = sum(len(samples[f"0_{c}_inference_ms"]) for c in ("hot", "beside"))
    assert len(samples["router_ms"]) == len(samples[f"{last}_scorer_ms"]) == firsts
    assert ("learn_ms" in samples) == heads


def test_a_router_for_another_number_of_stages(
    zoo: Mapping[str, Any], photos: Sequence[Path], folder: Path
) -> None:
    router = router_file(folder, "image", 1, stages=3, names=("contrast",))
    said = dataclasses.replace(router.router, costs_ms=(1.0, 2.0))
    request = MeasureRequest(
        (file_of(zoo["tiny"]), file_of(zoo["lite"])),
        (str(photos[0]),),
        SHORT,
        router=RouterFile(router.model, said),
    )
    with pytest.raises(ModelError, match="'scores' has 3 values, the plan 2"):
        measure(request, nobody)


def test_verification_tells_entries(
    zoo: Mapping[str, Any], photos: Sequence[Path], folder: Path, tmp_path: Path
) -> None:
    values = [image_features(np.asarray(decode_image(str(p))), ["hue_1"])[0] for p in photos]
    path = write_linear_router(
        folder / "hue.onnx", np.array([[0.0], [1.0]]), np.array([0.0, -np.median(values)])
    )
    router = Router(sha256_of(path), "image", (1.0, 2.0), ("hue_1",))
    stages = tuple(Stage(zoo[name].variant.sha256, zoo[name].options) for name in ("tiny", "lite"))
    bundle = write_bundle(
        BundleParts(
            name="routed",
            definition=PlanDefinition(Structure("premodel", stages, router=router), (0.0,)),
            points=[OperatingPoint((0.0,), {"latency_mean_ms": 1.0})],
            variants={m.variant.sha256: m.variant for m in zoo.values()},
            models={m.variant.sha256: m.path for m in zoo.values()},
            labels=["a", "b", "c", "d"],
            images=photos[:12],
            fingerprint={"machine": "test"},
            files={router.model: path},
        ),
        tmp_path / "plan.pyz",
    )
    images = tuple(map(str, photos))
    verify(VerifyRequest(str(bundle), images, str(tmp_path / "v.npz"), deciding=24), nobody)
    plan = Plan.load(str(bundle))
    answers = [plan.classify(image) for image in images]
    with np.load(tmp_path / "v.npz", allow_pickle=False) as found:
        assert found["entry"].tolist() == [answer.entry for answer in answers]
        assert found["stage"].tolist() == found["entry"].tolist()
        assert set(found["entry"].tolist()) == {0, 1}
