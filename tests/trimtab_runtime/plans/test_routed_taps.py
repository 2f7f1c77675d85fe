"""Routers that look at a tap: they answer as computed, and run nothing twice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from early_plans import CutModel, cut_model
from routed_plans import Array, parts_of, pictures, probabilities_of, replayed, split
from sample_routers import sha256_of, write_linear_router

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.definitions.exits import NO_THRESHOLDS, ExitThresholds
from trimtab_runtime.definitions.plan import RuntimeOptions, Stage
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.engines import create_segments
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.routing import entries
from trimtab_runtime.plans.stage import SegmentedStage


@dataclass(frozen=True)
class Cut:
    """A first stage in segments, whose first tap a router reads."""

    cut: CutModel
    stage: Stage
    weight: Array
    bias: Array
    router: Router
    files: dict[str, Path]

    def vectors(self, images: Sequence[Array]) -> Array:
        """Of the first tap (images, channels)."""
        return vectors_of(self.cut, images)


def vectors_of(cut: CutModel, images: Sequence[Array]) -> Array:
    paths = [str(path) for path in cut.segments]
    segments = create_segments(paths, cut.variant, cut.exits, RuntimeOptions("onnxruntime"))
    rows = []
    for image in images:
        segments.start(Preprocessor(image).tensor(cut.variant.input))
        rows.append(segments.tap()[0].copy())
    return np.stack(rows)


@pytest.fixture(scope="module", params=[(), ("heads",)], ids=["alone", "with-heads"])
def tapped(request: Any, tmp_path_factory: Any) -> Cut:
    """With one tap for the router alone, or with two, of which the second may answer."""
    folder = tmp_path_factory.mktemp("tapped")
    cut = cut_model(folder, 6, [()] if not request.param else [(), request.param])
    exits = cut.exits if request.param else dataclasses.replace(cut.exits, arrays="")
    stage = dataclasses.replace(cut.stage(1.5), exits=exits)
    weight, bias = (part[:2] for part in split(vectors_of(cut, pictures(60, seed=5))))
    path = write_linear_router(folder / "router.onnx", weight, bias)
    router = Router(sha256_of(path), "tap", (1.0, 3.0))
    files = {sha256_of(path): path, **dict(zip(exits.segments, cut.segments, strict=True))}
    if exits.arrays:
        files[exits.arrays] = cut.arrays_path
    return Cut(cut, stage, weight, bias, router, files)


@pytest.fixture(scope="module")
def tap_parts(tapped: Cut, zoo: Any, photos: Any) -> BundleParts:
    last = Stage(zoo["lite"].variant.sha256, zoo["lite"].options, 1.25)
    members = {"cut": dataclasses.replace(zoo["tiny"], variant=tapped.cut.variant), **zoo}
    heads = tapped.stage.exits is not None and bool(tapped.stage.exits.arrays)
    exits = ExitThresholds(heads=0.8) if heads else NO_THRESHOLDS
    return parts_of(
        [tapped.stage, last],
        members,
        tapped.files,
        photos,
        tapped.router,
        (0.9,),
        "mean",
        exits=exits,
    )


def test_a_tap_router_answers_as_computed(
    tapped: Cut, tap_parts: BundleParts, tmp_path: Path
) -> None:
    plan, images = Plan.load(str(write_bundle(tap_parts, tmp_path / "plan.pyz"))), pictures(120)
    scores = tapped.vectors(images) @ tapped.weight.T.astype(np.float32) + tapped.bias
    entry = entries(scores, (1.0, 3.0), 0.0)
    assert 20 < entry.sum() < 100
    whole = dataclasses.replace(
        tap_parts, models={**tap_parts.models, tapped.cut.variant.sha256: tapped.cut.whole}
    )
    expected = replayed(tap_parts, probabilities_of(whole, images), entry, plan.point)
    answers = [plan.classify(image) for image in images]
    assert [answer.entry for answer in answers] == entry.tolist()
    by = Counter((answer.entry, answer.by) for answer in answers)
    heads = plan.point.exits.heads is not None
    assert (plan.memory is not None) == heads
    assert set(by) == {(0, "network"), (1, "network")} | ({(0, "heads")} if heads else set())
    for answer, wanted in zip(answers, expected, strict=True):
        if answer.by == "network":
            assert (answer.index, answer.stage, answer.entry) == wanted
        else:
            assert (answer.stage, answer.tap) == (0, 1)
    assert {answer.stage for answer in answers if answer.entry == 0} == {0, 1}
    assert plan.selftest() == []


def test_a_tap_router_runs_no_segment_twice(
    tapped: Cut, tap_parts: BundleParts, tmp_path: Path
) -> None:
    plan = Plan.load(str(write_bundle(tap_parts, tmp_path / "plan.pyz")))
    plan.use(point=0)
    first = plan._stages[0]
    assert isinstance(first, SegmentedStage)
    runs: list[int] = []
    segments: Any = first.engine._segments  # type: ignore[attr-defined]  # OnnxSegments has them
    for number, segment in enumerate(segments):
        segments[number] = _Counted(segment, number, runs)
    ran = set()
    for image in pictures(60):
        runs.clear()
        answer = plan.classify(image)
        if answer.entry:
            assert runs == [0], "only what the router read"
        elif answer.by == "network":
            assert runs == list(range(len(segments)))
        else:
            assert runs == [0, 1]
        ran.add((answer.entry, answer.by))
    assert {(0, "network"), (1, "network")} <= ran


class _Counted:
    """A segment that writes down its runs."""

    def __init__(self, segment: Any, number: int, runs: list[int]) -> None:
        self._segment, self._number, self._runs = segment, number, runs

    def run(self, tensor: Any) -> None:
        self._runs.append(self._number)
        self._segment.run(tensor)

    @property
    def written(self) -> Any:
        return self._segment.written
