"""Routers, scorers and prices that cannot be, each refused with a reason."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from routed_plans import parts_of
from sample_routers import sha256_of, write_graph

from trimtab.planner.bundles.archive import write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.bundles.manifest import MANIFEST_NAME
from trimtab_runtime.definitions.exits import Memory
from trimtab_runtime.definitions.plan import (
    InputFormat,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.definitions.routers import Router, Scorer
from trimtab_runtime.errors import BundleError, InferenceError, ModelError, PlanningError

OPTIONS = RuntimeOptions("onnxruntime")
IMAGE = Router("a" * 64, "image", (1.0, 2.0), ("contrast",))


def two(**more: Any) -> Structure:
    stages = (Stage("1" * 64, OPTIONS), Stage("2" * 64, OPTIONS))
    return Structure(**{"route": "premodel", "stages": stages, "router": IMAGE, **more})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"router": None}, "a router belongs to the route premodel"),
        ({"route": "cascade"}, "a router belongs to the route premodel"),
        ({"stages": (Stage("1" * 64, OPTIONS),)}, "cannot have 1 stage"),
        ({"router": Router("a", "image", (1.0, 2.0, 3.0), ("hue_1",))}, "2 costs_ms needed"),
        ({"router": Router("a", "tap", (1.0, 2.0))}, "needs a tap in the first stage"),
        ({"memory": Memory(thumbnails=2)}, "remembers nothing"),
        (
            {"stages": (Stage("1", OPTIONS), Stage("2", OPTIONS, scorer=Scorer("b")))},
            "the last stage always answers",
        ),
    ],
)
def test_structures_that_cannot_be(change: dict[str, Any], message: str) -> None:
    assert two().deciders == ("a" * 64,)
    with pytest.raises(ValueError, match=message):
        two(**change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "text", (1.0, 2.0)), "kind must be one of image, tensor, tap"),
        (("a", "image", (1.0, 2.0)), "names of features belong to kind image"),
        (("a", "tap", (1.0, 2.0), ("hue_1",)), "names of features belong to kind image"),
        (("a", "image", (1.0, 2.0), ("hue_8",)), "names must be one of keypoints, brightness"),
        (("a", "tensor", (1.0, 2.0)), "an input format belongs to kind tensor"),
        (
            ("a", "tensor", (1.0, 2.0), (), InputFormat((8, 8), dtype="uint8")),
            "a router reads float32, its input is uint8",
        ),
        (("a", "tap", (1.0,)), "costs_ms must be one a stage"),
        (("a", "tap", (1.0, -2.0)), "none below 0"),
    ],
)
def test_routers_that_cannot_be(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Router(*arguments)


def test_prices_that_cannot_be() -> None:
    assert PlanDefinition(two(), (0.5,), price=2.0).price == 2.0
    with pytest.raises(ValueError, match="price >= 0 must hold"):
        PlanDefinition(two(), (0.5,), price=-1.0)
    plain = two(route="cascade", router=None)
    with pytest.raises(ValueError, match="0 without a router; got"):
        PlanDefinition(plain, (0.5,), price=0.1)


def test_what_was_there_before_keeps_its_name() -> None:
    """Keys of plans as protocol 2 wrote them."""
    stages = (Stage("1" * 64, OPTIONS), Stage("2" * 64, OPTIONS))
    plan = PlanDefinition(Structure("cascade", stages), (0.5,))
    assert plan.key == "9be0ae215969b7a01c7682be2e8a1dca3b952abc8953638f4d04f25bb73cc769"


def edited(bundle: Path, target: Path, edit: Any) -> Path:
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(content[MANIFEST_NAME])
    edit(manifest)
    content[MANIFEST_NAME] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return target


def _router(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["structure"]["router"]
    return found


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(protocol=2), "protocol 2 knows neither routers nor scorers"),
        (lambda m: m["structure"].pop("router"), "a router belongs to the route premodel"),
        (lambda m: m["structure"].update(route="cascade"), "a router belongs to the route"),
        (lambda m: _router(m).update(model="0" * 64), "no file belongs to the router or scorer"),
        (
            lambda m: m["structure"]["stages"][0]["scorer"].update(model="../../etc/passwd"),
            "no file belongs to the router or scorer",
        ),
        (lambda m: _router(m).update(costs_ms=[1.0]), "structure.router: costs_ms must be one a"),
        (lambda m: _router(m).update(costs_ms=[1.0, "2"]), "structure.router.costs_ms[1]"),
        (lambda m: _router(m).update(kind="tap"), "names of features belong to kind image"),
        (lambda m: _router(m).update(kind="tap", names=[]), "needs a tap in the first stage"),
        (lambda m: _router(m).update(names=["hue_9"]), "names must be one of"),
        (lambda m: m["structure"]["stages"][1].update(scorer={"model": "0"}), "no scorer"),
        (lambda m: m["points"][0].update(price=-0.5), "price >= 0 must hold"),
        (lambda m: m["points"][0].update(price="dear"), "points[0].price"),
    ],
)
def test_mutated_manifests_are_refused(
    premodels: Mapping[str, Path], tmp_path: Path, edit: Any, message: str
) -> None:
    path = edited(premodels["image"], tmp_path / "a.pyz", edit)
    with pytest.raises(BundleError) as refused:
        Plan.load(str(path))
    assert message in str(refused.value)


def test_a_file_that_is_missing(zoo: Any, photos: Any, tmp_path: Path) -> None:
    router = Router("f" * 64, "image", (1.0, 2.0), ("hue_1",))
    stages = [Stage(zoo[name].variant.sha256, OPTIONS) for name in ("tiny", "small")]
    without = parts_of(stages, zoo, {}, photos, router, (0.5,))
    with pytest.raises(PlanningError, match=r"router or scorer .* no such file was given"):
        write_bundle(without, tmp_path / "a.pyz")


def _identity(path: Path, reads: str, writes: str, shape: Any = (1, 2)) -> Path:
    from onnx import helper

    node = helper.make_node("Identity", [reads], [writes])
    return write_graph(path, [node], (reads, shape), (writes, shape))


@pytest.mark.parametrize(
    ("reads", "writes", "shape", "message"),
    [
        ("x", "scores", (1, 2), "input 'features' and output 'scores' needed"),
        ("features", "y", (1, 2), "input 'features' and output 'scores' needed"),
        ("features", "scores", (1, 3), "'scores' has 3 values, the plan 2"),
    ],
)
def test_models_that_are_no_routers(
    zoo: Any, photos: Any, tmp_path: Path, reads: str, writes: str, shape: Any, message: str
) -> None:
    path = _identity(tmp_path / "router.onnx", reads, writes, shape)
    router = Router(sha256_of(path), "image", (1.0, 2.0), ("hue_1", "hue_2"))
    stages = [Stage(zoo[name].variant.sha256, OPTIONS) for name in ("tiny", "small")]
    parts = parts_of(stages, zoo, {router.model: path}, photos, router, (0.5,))
    with pytest.raises(ModelError, match=message):
        write_bundle(parts, tmp_path / "a.pyz")


def test_scores_that_are_no_numbers(zoo: Any, photos: Any, tmp_path: Path) -> None:
    """NaN is an error, and never an answer."""
    from onnx import helper

    root = helper.make_node("Sqrt", ["features"], ["scores"])
    path = write_graph(tmp_path / "r.onnx", [root], ("features", (1, 2)), ("scores", (1, 2)))
    router = Router(sha256_of(path), "image", (1.0, 2.0), ("hue_1", "hue_2"))
    stages = [Stage(zoo[name].variant.sha256, OPTIONS) for name in ("tiny", "small")]
    parts = parts_of(stages, zoo, {router.model: path}, photos, router, (0.5,))
    plan = Plan.load(str(write_bundle(parts, tmp_path / "a.pyz")))
    assert plan._router is not None
    with pytest.raises(InferenceError, match="the router answered with NaN"):
        plan._router.scores(np.array([[-1.0, 1.0]], np.float32))
