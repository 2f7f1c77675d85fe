"""Moving along the operating points of a real bundle, by hand and by a budget."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from early_plans import stream_images
from routed_plans import TENSOR, features_of, pictures, split
from routed_plans import parts_of as routed_parts
from sample_routers import sha256_of, write_pooling_router

from trimtab.planner.bundles.archive import write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.cli import main
from trimtab_runtime.definitions.exits import ExitThresholds
from trimtab_runtime.definitions.plan import OperatingPoint, Stage
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.errors import BundleError, TrimtabError
from trimtab_runtime.plans.tracking import WINDOW

#: Far above what any answer takes, and far below.
AMPLE_MS, TIGHT_MS = 1e9, 1e-9


@pytest.fixture(scope="module")
def quick(parts_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose predictions are millions of times too low: whatever the machine does, a
    tracker finds it far too slow."""
    points = [
        OperatingPoint((level,), {"latency_mean_ms": mean, "latency_p95_ms": p95})
        for level, mean, p95 in ((0.0, 1e-6, 3e-6), (0.6, 2e-6, 9e-6), (1.5, 3e-6, 5e-6))
    ]
    parts = parts_of(["tiny", "bytes"], [0.6], points=points)
    return write_bundle(parts, tmp_path_factory.mktemp("quick") / "plan.pyz")


def test_a_budget_moves_the_point_after_a_window(quick: Path, noise: Any) -> None:
    plan = Plan.load(str(quick)).track(latency_ms=3e-6)
    assert plan.point is plan.manifest.points[2]
    for image in noise[: WINDOW - 1]:
        plan.classify(image)
    assert plan.point is plan.manifest.points[2]
    assert plan.classify(noise[0]).stage == 1
    assert plan.point is plan.manifest.points[0]
    assert plan.classify(noise[0]).stage == 0
    state = plan.tracking
    assert state is not None
    assert (state.answers, state.moves, state.fits) == (WINDOW + 1, 1, False)
    assert state.slowdown > 100


def test_an_ample_budget_takes_the_best_point(quick: Path, noise: Any) -> None:
    plan = Plan.load(str(quick)).track(latency_ms=AMPLE_MS)
    for image in noise:
        plan.classify(image)
    assert plan.point is plan.manifest.points[2]
    assert plan.tracking is not None
    assert plan.tracking.fits


def test_none_ends_it_and_so_does_use(quick: Path, noise: Any) -> None:
    plan = Plan.load(str(quick))
    assert plan.tracking is None
    assert plan.track(latency_ms=3e-6).track(None) is plan
    assert plan.tracking is None
    assert plan.point is plan.manifest.points[2], "the point in force stays"
    plan.track(latency_ms=3e-6).use(point=1)
    assert plan.tracking is None
    for image in noise[: 2 * WINDOW]:
        plan.classify(image)
    assert plan.point is plan.manifest.points[1]


def test_what_is_refused_leaves_everything_as_it_was(quick: Path) -> None:
    plan = Plan.load(str(quick)).track(latency_ms=3e-6)
    for wrong in ({"point": 3}, {"top1": 0.9}, {}, {"point": 1, "latency_ms": 2.0}):
        with pytest.raises(ValueError):
            plan.use(**wrong)
    with pytest.raises(BundleError, match="carry no latency_p99_ms"):
        plan.use(latency_p99_ms=5.0)
    with pytest.raises(ValueError, match="0 < budget"):
        plan.track(latency_ms=0.0)
    assert plan.tracking is not None
    assert plan.point is plan.manifest.points[2]


def test_percentiles_are_limits_too(quick: Path) -> None:
    plan = Plan.load(str(quick))
    assert plan.use(latency_p95_ms=5e-6).point is plan.manifest.points[2]
    assert plan.use(latency_p95_ms=4e-6).point is plan.manifest.points[0]
    assert plan.use(latency_ms=2e-6, latency_p95_ms=9e-6).point is plan.manifest.points[1]


def test_moving_loads_nothing(early: Path, cache: Path) -> None:
    """All files are gone after loading, and every point still answers as it did."""
    images = stream_images(40, seed=3)
    plan = Plan.load(str(early))
    assert plan.memory is not None
    shutil.rmtree(cache)
    for number in range(3):
        fresh = Plan.load(str(early)).use(point=number)
        shutil.rmtree(cache)
        plan.memory.reset()
        plan.use(latency_ms=1.0 + number)
        for image in images:
            ours, theirs = plan.classify(image), fresh.classify(image)
            assert (ours.index, ours.confidence, ours.by, ours.tap) == (
                theirs.index,
                theirs.confidence,
                theirs.by,
                theirs.tap,
            )


def test_moving_keeps_the_memory(early: Path) -> None:
    """A budget that moves between thresholds remembers as one plan."""
    plan, images = Plan.load(str(early)), stream_images(60, seed=3)
    assert plan.memory is not None
    plan.track(latency_ms=AMPLE_MS)
    for image in images[:30]:
        plan.classify(image)
    before = plan.memory.snapshot()
    plan.track(latency_ms=TIGHT_MS).use(point=1).track(latency_ms=TIGHT_MS)
    after = plan.memory.snapshot()
    assert all((before[name] == after[name]).all() for name in before)
    assert plan.point.exits == plan.manifest.points[0].exits
    assert plan.classify(images[29]).by == "thumbnails", "it is the frame before"
    assert plan.memory.summary()["frames"] == 31


def test_thresholds_of_exits_move_with_the_budget(early_of: Any, tmp_path: Path) -> None:
    """Predictions that are far too low: the tracker goes to where heads answer everything."""
    easy, strict = ExitThresholds(heads=0.0), ExitThresholds(heads=1.0)
    points = [
        OperatingPoint((0.9,), {"latency_mean_ms": 1e-6}, easy),
        OperatingPoint((0.9,), {"latency_mean_ms": 2e-6}, strict),
    ]
    parts = early_of(exits=easy, points=points)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "early.pyz"))).track(latency_ms=2e-6)
    images = stream_images(WINDOW + 5, seed=8)
    by = [plan.classify(image).by for image in images]
    assert "heads" not in by[:WINDOW]
    assert set(by[WINDOW:]) == {"heads"}


def test_the_price_of_a_router_moves_with_the_budget(
    zoo: Any, photos: Sequence[Path], tmp_path: Path
) -> None:
    """First every stage is entered, then, where time is dear, only the cheapest one."""
    weight, bias = split(features_of("tensor", pictures(60, seed=5)))
    path = write_pooling_router(tmp_path / "router.onnx", weight, bias, TENSOR.size[0])
    router = Router(sha256_of(path), "tensor", (1.0, 2.0, 4.0), input=TENSOR)
    stages = [Stage(zoo[n].variant.sha256, zoo[n].options) for n in ("tiny", "small", "lite")]
    none = (0.0, 0.0)  # the entered stage answers
    parts = routed_parts(stages, zoo, {sha256_of(path): path}, photos, router, none)
    points = [
        OperatingPoint(none, {"latency_mean_ms": 1e-6}, price=100.0),
        OperatingPoint(none, {"latency_mean_ms": 2e-6}),
    ]
    bundle = write_bundle(replace(parts, points=points), tmp_path / "routed.pyz")
    plan = Plan.load(str(bundle)).track(latency_ms=2e-6)
    entered = [plan.classify(image).entry for image in pictures(2 * WINDOW)]
    assert set(entered[:WINDOW]) == {0, 1, 2}
    assert set(entered[WINDOW:]) == {0}
    assert plan.use(latency_ms=2e-6).point.price == 0.0


def test_only_answers_of_classify_count(early: Path, tmp_path: Path) -> None:
    """Not rehearsals, not the selftest, not images that cannot be read."""
    plan, images = Plan.load(str(early)).track(latency_ms=AMPLE_MS), stream_images(3, seed=3)
    for image in images:
        plan.classify(image)
    before, point = plan.tracking, plan.point
    assert before is not None
    assert before.answers == 3
    for image in images:
        plan.rehearse(image)
    assert plan.selftest() == []
    with pytest.raises(TrimtabError):
        plan.classify(str(tmp_path / "none.png"))
    assert plan.tracking == before
    assert plan.point is point


def test_a_rehearsal_of_a_plain_cascade_does_not_count(quick: Path, noise: Any) -> None:
    plan = Plan.load(str(quick)).track(latency_ms=AMPLE_MS)
    plan.rehearse(noise[0])
    assert plan.tracking is not None
    assert plan.tracking.answers == 0


# ---- on the command line -----------------------------------------------------------------------


def streamed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bundle: Path,
    photos: Sequence[Path],
    *options: str,
) -> tuple[int, list[Any], str]:
    given = b"".join(os.fsencode(f"{photo}\n") for photo in photos)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    status = main(str(bundle), ["stream", *options])
    told = capsys.readouterr()
    return status, [json.loads(line) for line in told.out.splitlines()], told.err


def test_a_stream_holds_a_budget(
    quick: Path,
    photos: Sequence[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = photos[: WINDOW + 4]
    status, lines, _ = streamed(monkeypatch, capsys, quick, photos, "--budget-ms", "3e-6")
    assert status == 0
    assert [line["stage"] for line in lines] == [1] * WINDOW + [0] * 4
    assert [line["tracking"]["moves"] for line in lines] == [0] * (WINDOW - 1) + [1] * 5
    assert lines[-1]["tracking"]["budget_ms"] == 3e-6
    assert lines[-1]["tracking"]["fits"] is False
    _, lines, _ = streamed(monkeypatch, capsys, quick, photos[:1])
    assert "tracking" not in lines[0]


def test_a_stream_has_one_limit(
    quick: Path,
    photos: Sequence[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = ("--budget-ms", "3", "--latency-ms", "2")
    status, lines, error = streamed(monkeypatch, capsys, quick, photos, *both)
    assert (status, lines) == (2, [])
    assert "--budget-ms selects the operating point itself" in error
    for wrong in ("0", "-1", "nan"):
        with pytest.raises(SystemExit, match="2"):
            main(str(quick), ["stream", "--budget-ms", wrong])
        assert "must be greater than 0" in capsys.readouterr().err


def test_what_no_operating_point_changes_takes_no_limit(
    quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stored answers are those of the plan's own point, and a saved memory is of no point."""
    for command in (["selftest"], ["memory", "memory.npz"]):
        for option in ("--latency-ms", "--latency-p95-ms"):
            with pytest.raises(SystemExit, match="2"):
                main(str(quick), [*command, option, "3"])
            assert f"unrecognized arguments: {option} 3" in capsys.readouterr().err


def test_a_percentile_chooses_the_point(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in (
        (["--latency-p95-ms", "4e-6"], [0.0]),
        (["--latency-p95-ms", "5e-6"], [1.5]),
        (["--latency-p95-ms", "9e-6", "--latency-ms", "2e-6"], [0.6]),
        ([], [0.6]),
    ):
        assert main(str(quick), ["info", *options]) == 0
        assert json.loads(capsys.readouterr().out)["thresholds"] == expected
