"""Bundles with routers and scorers: they answer as computed here, and refuse what cannot be."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from routed_plans import (
    NAMES,
    TENSOR,
    Array,
    Routed,
    features_of,
    parts_of,
    pictures,
    probabilities_of,
    replayed,
    split,
    told,
)
from sample_models import CLASSES
from sample_routers import (
    sha256_of,
    write_linear_router,
    write_margin_scorer,
    write_pooling_router,
)

from trimtab.planner.bundles.archive import write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.definitions.plan import OperatingPoint, PlanDefinition, Stage
from trimtab_runtime.definitions.routers import Router, Scorer
from trimtab_runtime.plans.routing import entries

STAGES = ("tiny", "small", "lite")


@pytest.fixture(scope="module")
def scorer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_margin_scorer(tmp_path_factory.mktemp("scorer") / "margin.onnx", CLASSES)


@pytest.fixture(scope="module", params=["image", "tensor"])
def routed(request: Any, zoo: Any, photos: Any, tmp_path_factory: Any) -> Any:
    """routed(thresholds, rule, scored, price, points): three stages behind a router."""
    kind, folder = request.param, tmp_path_factory.mktemp("router")
    seen = features_of(kind, pictures(60, seed=5))
    weight, bias = split(seen)
    if kind == "image":
        path = write_linear_router(folder / "router.onnx", weight, bias)
        router = Router(sha256_of(path), kind, (1.0, 2.0, 4.0), NAMES)
    else:
        path = write_pooling_router(folder / "router.onnx", weight, bias, TENSOR.size[0])
        router = Router(sha256_of(path), kind, (1.0, 2.0, 4.0), input=TENSOR)
    margin = write_margin_scorer(folder / "margin.onnx", CLASSES)
    files = {sha256_of(path): path, sha256_of(margin): margin}

    def make(
        thresholds: Sequence[float], rule: str = "last", scored: bool = False, **more: Any
    ) -> Routed:
        scorers = [Scorer(sha256_of(margin)) if scored else None] * 2 + [None]
        stages = [
            Stage(zoo[name].variant.sha256, zoo[name].options, 1.25, scorer=scorer)
            for name, scorer in zip(STAGES, scorers, strict=True)
        ]
        found = parts_of(stages, zoo, files, photos, router, thresholds, rule, **more)
        return Routed(found, weight, bias)

    return make


@pytest.mark.parametrize(
    ("thresholds", "rule", "scored"),
    [
        ((0.0, 0.0), "last", False),  # a premodel alone
        ((0.6, 0.7), "last", False),
        ((0.6, 0.7), "mean", False),
        ((0.2, 0.3), "mean", True),
    ],
)
def test_a_routed_bundle_answers_as_computed(
    routed: Any, tmp_path: Path, thresholds: Any, rule: str, scored: bool
) -> None:
    made: Routed = routed(thresholds, rule, scored)
    parts, images = made.parts, pictures(150)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    router = parts.definition.structure.router
    assert router is not None
    scores = made.scores(features_of(router.kind, images))
    entry = entries(scores, router.costs_ms, 0.0)
    expected = replayed(parts, probabilities_of(parts, images), entry, plan.point)
    found = told(plan, images)
    assert found == expected
    ways = Counter((stage, entry) for _, stage, entry in found)
    if thresholds == (0.0, 0.0):
        assert set(ways) == {(0, 0), (1, 1), (2, 2)}
    else:
        assert {(0, 0), (1, 1), (2, 1), (2, 2)} <= set(ways)
        assert {(1, 0), (2, 0)} & set(ways)
    assert min(Counter(entry for *_, entry in found).values()) >= 10
    assert plan.selftest() == []
    assert plan.info()["router"]["kind"] == router.kind


def test_a_price_moves_entries_without_reloading(routed: Any, tmp_path: Path) -> None:
    prices = (0.0, 0.3, 100.0)
    points = [OperatingPoint((0.6, 0.7), {"latency_mean_ms": 9 - p}, price=p) for p in prices[1:]]
    made: Routed = routed((0.6, 0.7), points=points)
    plan = Plan.load(str(write_bundle(made.parts, tmp_path / "plan.pyz")))
    router, images = plan.manifest.structure.router, pictures(80)
    assert router is not None
    loaded = list(plan._stages), plan._router
    scores = made.scores(features_of(router.kind, images))
    for number, price in enumerate(prices):
        plan.use(point=number)
        worth = scores - price * np.array([1.0, 2.0, 4.0])
        assert [plan.classify(image).entry for image in images] == worth.argmax(1).tolist()
    assert [plan.classify(image).entry for image in images] == [0] * len(images)
    assert loaded == (plan._stages, plan._router)
    assert plan.info()["router"]["price"] == 100.0
    assert plan.selftest() == [], "which is of the plan's own point"
    assert plan.point.price == 100.0


def test_a_routed_bundle_runs_as_a_program(routed: Any, tmp_path: Path, photos: Any) -> None:
    bundle = write_bundle(routed((0.6, 0.7), scored=True).parts, tmp_path / "plan.pyz")

    def run(*arguments: str) -> str:
        environment = {**os.environ, "TRIMTAB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ""}
        done = subprocess.run(
            [sys.executable, "-I", str(bundle), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("selftest") == "selftest passed\n"
    info = json.loads(run("info"))
    assert (info["protocol"], info["route"]) == (3, "premodel")
    needs_opencv = info["router"]["kind"] == "image"
    assert ("opencv-python-headless>=5.0" in info["requires"]) == needs_opencv
    lines = run("classify", "--json", *map(str, photos)).splitlines()
    shown = [json.loads(line) for line in lines]
    assert {line["entry"] for line in shown} <= {0, 1, 2}
    bench = json.loads(run("bench", *map(str, photos[:6]), "--repeat", "2"))
    assert sum(bench["entry_share"]) == pytest.approx(1, abs=1e-3)


def test_the_selftest_notices_another_router(routed: Any, tmp_path: Path) -> None:
    plan = Plan.load(str(write_bundle(routed((0.6, 0.7)).parts, tmp_path / "plan.pyz")))
    assert plan.selftest() == []
    assert plan._router is not None
    plan._router._model = _Reversed(plan._router._model)  # type: ignore[assignment]  # a fake
    assert any("(answer, stage, entry)" in problem for problem in plan.selftest())


class _Reversed:
    """A router's model whose scores belong to other stages."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, features: Array) -> Array:
        found: Array = self._model.run(features)[::-1]
        return found


def test_learned_deferral_needs_no_router(
    zoo: Any, photos: Sequence[Path], scorer_path: Path, tmp_path: Path
) -> None:
    scorer = Scorer(sha256_of(scorer_path))
    stages = [
        Stage(zoo[name].variant.sha256, zoo[name].options, 1.25, scorer=found)
        for name, found in (("tiny", scorer), ("lite", None))
    ]
    parts = parts_of(stages, zoo, {scorer.model: scorer_path}, photos, None, (0.5,), rule="mean")
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    images = pictures(120)
    said = probabilities_of(parts, images)
    found = told(plan, images)
    assert found == replayed(parts, said, np.zeros(120, int), plan.point)
    assert {stage for _, stage, _ in found} == {0, 1}
    by_probability = dataclasses.replace(
        parts.definition.structure,
        stages=tuple(dataclasses.replace(stage, scorer=None) for stage in stages),
    )
    other = dataclasses.replace(parts, definition=PlanDefinition(by_probability, (0.5,)))
    assert found != replayed(other, said, np.zeros(120, int), plan.point)
    assert plan.selftest() == []
    assert plan.info()["stages"][0]["scorer"] == scorer.model
